"""Removes the files that it goes on writing."""

import os
import time

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        held = []
        for number in range(64):
            held.append(open("file", "wb"))
            os.unlink("file")
            held[-1].write(bytes(16 << 20))
            held[-1].flush()
        time.sleep(60)
