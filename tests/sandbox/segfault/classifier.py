"""Reads where nothing is."""

import ctypes

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        ctypes.string_at(0)
