"""Leaves work for when its process ends."""

import atexit
import time

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        atexit.register(time.sleep, 60)
