"""Kills all processes there are, all at once."""

import os
import signal

from .tries import make_sure_that_it_is_contained

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        make_sure_that_it_is_contained()
        os.kill(-1, signal.SIGKILL)
