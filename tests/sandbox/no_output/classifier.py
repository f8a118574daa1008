"""Has nothing to print to."""

import sys

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        sys.stdout = sys.stderr = None
