"""Its process goes on as another program."""

import os

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        os.execv("/bin/sleep", ["sleep", "60"])
