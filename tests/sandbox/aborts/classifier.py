"""Aborts."""

import os

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        os.abort()
