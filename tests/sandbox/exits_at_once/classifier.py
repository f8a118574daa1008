"""Leaves in the middle of its training, as if all was well."""

import os

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        os._exit(0)
