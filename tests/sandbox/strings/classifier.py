"""Predicts strings."""

from .right import Right

class Classifier(Right):
    def predict_proba(self, X):
        return ['a'] * len(X)
