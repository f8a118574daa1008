"""Makes empty files without end."""

import os
import time

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        for number in range(200_000):
            os.close(os.open(str(number), os.O_CREAT | os.O_WRONLY))
        time.sleep(60)
