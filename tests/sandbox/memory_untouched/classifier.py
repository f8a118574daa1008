"""Asks for memory that it never touches."""

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        self.held = bytearray(8 << 30)
