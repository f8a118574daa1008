"""Predicts objects."""

import numpy as np

from .right import Right

class Classifier(Right):
    def predict_proba(self, X):
        return np.array([object()] * len(X))
