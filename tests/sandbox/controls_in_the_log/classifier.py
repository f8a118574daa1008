"""Prints what moves cursors, rings bells, ends texts and is no text at all."""

import os

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        os.write(1, b"\x1b[2J\x1b]0;title\x07\x00\xff\xfe\x9b\r\b\xe2\x80")
        print("\x85\x9b31m\u202e größer 数 🙂 end")
