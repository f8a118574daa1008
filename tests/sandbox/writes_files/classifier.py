"""Writes where it may not: Python's installation, the runner's folders, its own code."""

import os
import sys
from pathlib import Path

import numpy as np

from .right import Right
from .tries import Tries

from .tries import system_call

AT_FDCWD = -100
FOLDERS = ("@OUTSIDE@", "@CACHE@", "@SCRATCH@", "/", "/tmp", "/var/tmp", "/dev", "/dev/shm", "/etc", "/root", "/usr/local")


class Classifier(Right):
    def fit(self, X, y):
        tries = Tries()
        package, own = Path(np.__file__).parent, Path(__file__)
        for folder in (package, package.parent, sys.prefix, Path.home().parent, own.parent, *FOLDERS):
            path = Path(folder) / "@MARKER@"
            tries(f"new file in {folder}", path.touch)
            tries(f"new folder in {folder}", path.mkdir)
            tries(f"new link in {folder}", path.symlink_to, "/")
            tries(f"new pipe in {folder}", os.mkfifo, path)
            tries(f"link of its own to {folder}", os.link, own, path)
        for path in (package / "__init__.py", own, "@SECRET@", "@CACHED@", "@RAW@", "/etc/passwd"):
            tries(f"append to {path}", open, path, "ab")
            tries(f"truncate {path}", open, path, "wb")
            tries(f"truncate {path} by name", os.truncate, path, 0)
            tries(f"read and truncate {path}", os.open, path, os.O_RDONLY | os.O_TRUNC)
            tries(f"remove {path}", os.unlink, path)
            tries(f"rename {path}", os.rename, path, "@MARKER@")
            tries(f"take {path}", os.link, path, "@MARKER@")
            tries(f"times of {path}", system_call, "utimensat", AT_FDCWD, os.fsencode(path), 0, 0)
            tries(f"owner of {path}", os.chown, path, os.getuid(), os.getgid())
            tries(f"attribute of {path}", os.setxattr, path, "user.@MARKER@", b"x")
        tries(f"rename its home", os.rename, Path.cwd(), Path.cwd().parent / "@MARKER@")
        tries(f"remove its home", os.rmdir, Path.cwd())
        tries.tell()
