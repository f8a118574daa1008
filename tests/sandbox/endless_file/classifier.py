"""Writes a file without end."""

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        with open("file", "wb") as file:
            while True:
                file.write(bytes(1 << 20))
