"""Predicts a row too many."""

import numpy as np

from .right import Right

class Classifier(Right):
    def predict_proba(self, X):
        return np.zeros((len(X) + 1, 2))
