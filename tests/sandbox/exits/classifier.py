"""Leaves by an exception that is no error."""

import sys

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        sys.exit()
