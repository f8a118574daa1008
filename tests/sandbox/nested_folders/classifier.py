"""Leaves folders in folders in folders."""

import os

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
