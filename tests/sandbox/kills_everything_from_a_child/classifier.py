"""Starts a process that kills all there are but itself."""

import os
import signal

from .tries import make_sure_that_it_is_contained

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        make_sure_that_it_is_contained()
        if os.fork() == 0:
            os.kill(-1, signal.SIGKILL)
        os.wait()
