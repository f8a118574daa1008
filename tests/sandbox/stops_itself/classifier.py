"""Stops itself and the process that could wake it."""

import os
import signal

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        if os.fork() == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        os.killpg(0, signal.SIGSTOP)
