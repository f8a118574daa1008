"""Sets an alarm and does not hear it."""

import signal
import time

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        signal.alarm(1)
        time.sleep(60)
