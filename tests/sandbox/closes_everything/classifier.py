"""Closes every descriptor, and keeps its process alive by a thread."""

import os
import threading
import time

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        threading.Thread(target=time.sleep, args=(60,)).start()
        os.closerange(0, 1000)
