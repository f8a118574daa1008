"""Asks for more of the disk than it may have, without writing it; and for a file of a terabyte."""

import os

from .right import Right
from .tries import Tries

FALLOC_FL_KEEP_SIZE = 1


class Classifier(Right):
    def fit(self, X, y):
        tries = Tries()
        file = os.open("file", os.O_CREAT | os.O_RDWR)
        tries.call("fallocate", file, FALLOC_FL_KEEP_SIZE, 0, 1 << 30)
        tries("truncate", os.truncate, "file", 1 << 40)
        assert os.fstat(file).st_blocks * 512 < 1 << 20
        assert not tries.succeeded, tries.succeeded
