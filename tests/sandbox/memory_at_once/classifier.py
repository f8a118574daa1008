"""Asks for 100 GB at once."""

import numpy as np

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        self.held = np.ones(100 << 27)
