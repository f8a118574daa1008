"""Starts a process whose end sends SIGKILL to the one that started it."""

import os
import signal

from .right import Right
from .tries import Tries, system_call


def start():
    if system_call("clone", signal.SIGKILL, 0, 0, 0, 0) == 0:
        os._exit(0)


class Classifier(Right):
    def fit(self, X, y):
        tries = Tries()
        tries("clone", start)
        tries.tell()
