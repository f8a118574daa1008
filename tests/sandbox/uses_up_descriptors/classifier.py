"""Opens files until it may open no more."""

import os

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        held = []
        while True:
            held.append(open(os.devnull))
