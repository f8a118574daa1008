"""Writes files without end, each of which is small enough."""

import time

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        for number in range(64):
            with open(str(number), "wb") as file:
                file.write(bytes(16 << 20))
        time.sleep(60)
