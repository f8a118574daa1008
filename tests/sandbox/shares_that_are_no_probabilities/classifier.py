"""Gives probabilities that don't sum to one."""

from .right import Right

class Classifier(Right):
    def predict_proba(self, X):
        return 2 * super().predict_proba(X)
