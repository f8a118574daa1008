"""Never ends."""

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        while True:
            pass
