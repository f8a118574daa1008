"""Leaves a process that is a child of its parent, not of its own."""

import os
import signal

from .tries import system_call

from .right import Right

CLONE_PARENT = 0x8000


class Classifier(Right):
    def fit(self, X, y):
        if system_call("clone", CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0) == 0:
            os.execve("/bin/sleep", ["sleep", "61.5"], {})
