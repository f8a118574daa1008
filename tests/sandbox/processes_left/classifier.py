"""Is right, and leaves processes: waiting, stopped, and on their way to end."""

import os
import signal
import time

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        for number in (None, signal.SIGSTOP, signal.SIGTERM):
            if os.fork() == 0:
                if number:
                    os.kill(os.getpid(), number)
                time.sleep(60)
