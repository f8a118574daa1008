"""Gives predictions that fail, at length, when they are looked at."""

from .right import Right

class Predictions:
    def __array__(self, *arguments, **options):
        raise ValueError("no luck " * 10**6)


class Classifier(Right):
    def predict_proba(self, X):
        return Predictions()
