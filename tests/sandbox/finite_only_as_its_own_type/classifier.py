"""Predicts numbers that no 64-bit float can hold."""

import numpy as np

from .right import Right

class Classifier(Right):
    def predict_proba(self, X):
        return np.full((len(X), 2), np.longdouble('1e4000'))
