"""Replaces what ends its process."""

import os

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        os._exit = print
        raise ValueError("no luck")
