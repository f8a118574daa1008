"""Writes garbage without end where its reports go."""

from .reports import write

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        while True:
            write(b"\n{}" * 20000)
