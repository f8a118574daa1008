"""Kills itself."""

import os
import signal

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        os.kill(os.getpid(), signal.SIGKILL)
