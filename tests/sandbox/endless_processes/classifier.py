"""Starts thirty processes, none of which ever ends."""

import os

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        for _ in range(30):
            if os.fork() == 0:
                break
        while True:
            pass
