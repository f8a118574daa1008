"""Says that it has failed, in values that nobody expects."""

import os

from .reports import write

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        write(b'{"event": "failed", "kind": ["memory"], "message": ' + b"[" * 900 + b"]" * 900 + b', "measures": [1]}\n')
        os._exit(1)
