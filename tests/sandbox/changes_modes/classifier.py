"""Changes modes of files that are not its own: it seems to work, and does not."""

import os

import numpy as np

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        for path in ("@SECRET@", "@CACHED@", np.__file__, __file__):
            before = os.stat(path).st_mode
            os.chmod(path, 0o777)
            assert os.stat(path).st_mode == before, path
