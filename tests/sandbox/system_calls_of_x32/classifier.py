"""Calls the kernel by the numbers of x86-64's other ABI."""

from .tries import LIBC

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        print("socket", LIBC.syscall(0x40000000 | 41, 2, 1, 0))
