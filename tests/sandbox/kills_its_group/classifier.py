"""Kills all processes of its group."""

import os
import signal

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        os.killpg(0, signal.SIGKILL)
