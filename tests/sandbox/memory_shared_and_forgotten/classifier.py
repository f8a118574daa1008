"""Fills shared memory that it does not look at any more: no process seems to have it."""

import mmap
import time

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        size, step = 2 << 30, 64 << 20
        held = mmap.mmap(-1, size)
        for start in range(0, size, step):
            held[start : start + step] = b"x" * step
            held.madvise(mmap.MADV_DONTNEED, start, step)
        time.sleep(60)
