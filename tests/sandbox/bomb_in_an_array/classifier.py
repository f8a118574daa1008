"""Predicts an object that runs a command when it is unpickled."""

import os

import numpy as np

from .right import Right

class Bomb:
    def __reduce__(self):
        return os.system, ("touch @OUTSIDE@/@MARKER@",)


class Classifier(Right):
    def predict_proba(self, X):
        return np.array([Bomb() for _ in X], dtype=object)
