"""Keeps others from opening files: by leases, flags and watches on files that it may read."""

import array
import ctypes
import fcntl
import os

import numpy as np

from .right import Right
from .tries import Tries

FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602


class Classifier(Right):
    def fit(self, X, y):
        tries = Tries()
        with open(np.__file__) as file:
            tries("lease", fcntl.fcntl, file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            tries("lease for reading", fcntl.fcntl, file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            tries("notice", fcntl.fcntl, os.open(os.path.dirname(np.__file__), os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_ACCESS)
            flags = array.array("l", [0])
            tries("flags", fcntl.ioctl, file, FS_IOC_GETFLAGS, flags)
            tries("changed flags", fcntl.ioctl, file, FS_IOC_SETFLAGS, flags)
        for name in ("inotify_init1", "fanotify_init"):
            tries.call(name, 0, 0)
        tries.call("io_setup", 60000, ctypes.byref(ctypes.c_ulong(0)))
        tries.tell()
