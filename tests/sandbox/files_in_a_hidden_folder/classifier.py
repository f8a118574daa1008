"""Writes files into a folder that nobody may list."""

import os
import time

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        os.mkdir("folder", 0o300)
        for number in range(64):
            with open(f"folder/{number}", "wb") as file:
                file.write(bytes(16 << 20))
        time.sleep(60)
