"""Waits for somebody to type: there is nobody, and it is told at once."""

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        input()
