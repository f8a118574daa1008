"""Reads environment, memory, files and descriptors of its parent and of the runner."""

import os

from .right import Right
from .tries import Tries

from .tries import system_call

SUPERVISOR = @SUPERVISOR@


class Classifier(Right):
    def fit(self, X, y):
        tries = Tries()
        for process in (os.getppid(), SUPERVISOR, 1):
            for name in ("environ", "mem", "maps", "cmdline", "status", "auxv", "stack"):
                tries(f"{name} of {process}", lambda path=f"/proc/{process}/{name}": open(path, "rb").read(1))
            for name in ("fd", "task", "map_files", "ns"):
                tries(f"{name} of {process}", os.listdir, f"/proc/{process}/{name}")
            for name in ("cwd", "root", "exe", "fd/0", "ns/net"):
                tries(f"{name} of {process}", os.readlink, f"/proc/{process}/{name}")
            tries(f"files of {process}", os.listdir, f"/proc/{process}/root")
            tries(f"descriptor of {process}", system_call, "pidfd_getfd", os.pidfd_open(process), 0, 0)
        tries.tell()
