"""Leaves when it is asked for predictions."""

import os

from .right import Right

class Classifier(Right):
    def predict_proba(self, X):
        os._exit(3)
