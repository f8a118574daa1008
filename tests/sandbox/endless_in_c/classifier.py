"""Never leaves a function written in C, which holds the interpreter's lock."""

import re

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        self.found = re.match("(a+)+$", "a" * 60 + "b")
