"""Says that it is done before it has done anything."""

import time

from .reports import write

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        write(b'{"event": "done"}\n')
        time.sleep(60)
