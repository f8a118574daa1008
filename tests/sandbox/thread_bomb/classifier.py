"""Starts threads as fast as it can."""

import threading
import time

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        while True:
            threading.Thread(target=time.sleep, args=(60,)).start()
