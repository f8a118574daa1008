"""Predicts 10 GB that take no memory."""

import numpy as np

from .right import Right

class Classifier(Right):
    def predict_proba(self, X):
        return np.broadcast_to(0.0, (len(X), 10 << 30 >> 3))
