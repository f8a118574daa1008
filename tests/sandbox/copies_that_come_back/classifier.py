"""Forks, and its copies do what it does: fail, predict, end."""

import os

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        if os.fork() == 0:
            raise ValueError("no luck")
        os.wait()
        os.fork()

    def predict_proba(self, X):
        os.fork()
        return super().predict_proba(X)
