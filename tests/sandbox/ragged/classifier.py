"""Predicts rows of different lengths."""

from .right import Right

class Classifier(Right):
    def predict_proba(self, X):
        return [[1.0], [1.0, 2.0]] * (len(X) // 2)
