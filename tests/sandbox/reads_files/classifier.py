"""Reads what is not its own: the system's, the user's, the runner's, other jobs'."""

import os
from pathlib import Path

from .right import Right
from .tries import Tries

def read_by_link(path):
    os.symlink(path, "link")
    try:
        open("link", "rb").read(1)
    finally:
        os.unlink("link")


class Classifier(Right):
    def fit(self, X, y):
        tries = Tries()
        for path in ("@SECRET@", "@CACHED@", "@RAW@", "/etc/passwd", "/etc/shadow", "/etc/hosts", "/proc/1/cmdline"):
            tries(path, lambda path=path: open(path, "rb").read(1))
            tries(f"link to {path}", read_by_link, path)
        folders = ("/", "/etc", "/home", "/root", "/tmp", "/var", "/run", "/dev", "/dev/shm", "/proc", "@CACHE@", "@SCRATCH@")
        for path in (*folders, os.path.expanduser("~" + "root"), Path.cwd().parents[1], Path.cwd().parents[2] / "data"):
            tries(str(path), os.listdir, path)
        for path in ("log", "data/raw.csv", "data"):
            tries(path, open, Path.cwd().parents[2] / path)
        tries.tell()
