"""Tries to leave its session and its group."""

import os

from .right import Right
from .tries import Tries

class Classifier(Right):
    def fit(self, X, y):
        tries = Tries()
        tries("setsid", os.setsid)
        tries("setpgid", os.setpgid, 0, 0)
        if (child := os.fork()) == 0:
            tries("setsid", os.setsid)
            tries("setpgid", os.setpgid, 0, 0)
            tries("setpgrp", os.setpgrp)
            os._exit(len(tries.succeeded))
        tries("setpgid of a child", os.setpgid, child, 0)
        _, status = os.waitpid(child, 0)
        tries.succeeded += ["in a child"] * os.waitstatus_to_exitcode(status)
        tries("posix_spawn", os.posix_spawn, "/bin/true", ["true"], {}, setsid=True)
        tries.tell()
