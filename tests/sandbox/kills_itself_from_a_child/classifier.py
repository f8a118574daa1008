"""Starts a process that kills the first one."""

import os
import signal

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        if os.fork() == 0:
            os.kill(os.getppid(), signal.SIGKILL)
        os.wait()
