"""Makes objects without end, one in the other."""

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        held = None
        while True:
            held = [held]
