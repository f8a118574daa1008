"""Takes 100 GB, little by little."""

import time

import numpy as np

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        held = []
        while sum(map(len, held)) < 100 << 27:
            held.append(np.ones(1 << 20))
            time.sleep(0.01)
