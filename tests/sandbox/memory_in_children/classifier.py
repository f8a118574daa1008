"""Each of its processes keeps within the limit, all of them together don't."""

import os
import time

import numpy as np

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        for _ in range(4):
            if os.fork() == 0:
                self.held = np.ones(16 << 20)
                time.sleep(60)
        time.sleep(60)
