"""Fails with an error as long as a book."""

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        raise ValueError("no luck " * 10**6)
