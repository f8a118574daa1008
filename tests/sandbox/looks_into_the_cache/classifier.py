"""Looks at which pages of a file others have read, locks files that others may read, and throws them out of memory."""

import ctypes
import fcntl
import mmap
import os

import numpy as np

from .right import Right
from .tries import LIBC, Tries


class Classifier(Right):
    def fit(self, X, y):
        tries = Tries()
        with open(np.__file__, "rb") as file:
            page = mmap.mmap(file.fileno(), 4096, access=mmap.ACCESS_COPY)
            address = ctypes.addressof(ctypes.c_char.from_buffer(page))
            tries.call("mincore", address, 4096, ctypes.create_string_buffer(1))
            tries("read what is there", os.preadv, file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)
            tries("lock", fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            tries("part of a lock", fcntl.lockf, file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            tries("who locks", fcntl.fcntl, file, fcntl.F_GETLK, bytes(32))
            tries("open lock", fcntl.fcntl, file, 37, bytes(32))
            assert LIBC.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED) == 0
        tries.tell()
