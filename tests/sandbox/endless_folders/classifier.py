"""Makes folders without end."""

import os
import time

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        for number in range(20_000):
            os.mkdir(str(number))
        time.sleep(60)
