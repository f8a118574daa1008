"""Ignores every signal that can be ignored, and every exception."""

import contextlib
import signal
import time

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        for number in range(1, signal.NSIG):
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(60)
