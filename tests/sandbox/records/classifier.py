"""Predicts records."""

import numpy as np

from .right import Right

class Classifier(Right):
    def predict_proba(self, X):
        return np.zeros(len(X), dtype=[('a', 'f8')])
