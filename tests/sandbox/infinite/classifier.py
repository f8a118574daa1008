"""Predicts infinities."""

import numpy as np

from .right import Right

class Classifier(Right):
    def predict_proba(self, X):
        return np.full(len(X), -np.inf)
