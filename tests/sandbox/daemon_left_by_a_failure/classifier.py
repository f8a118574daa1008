"""Leaves a daemon, and fails."""

import os

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        if os.fork() == 0:
            if os.fork() == 0:
                os.closerange(0, 100)
                os.execve("/bin/sleep", ["sleep", "61.5"], {})
            os._exit(0)
        os.wait()
        raise ValueError("no luck")
