"""Leaves links, pipes, giants without content, and names that can hardly be printed."""

import os
import stat

from .right import Right
from .tries import Tries

class Classifier(Right):
    def fit(self, X, y):
        for number, target in enumerate(("/etc/passwd", "/dev/zero", "..", "link0", "/proc/self/fd/3", "@SECRET@")):
            os.symlink(target, f"link{number}")
        for name in ("train.npy", "test.npy", "prepared", "labels", "out", "data", "submission"):
            os.symlink("/etc/passwd", name)
        os.mkfifo("pipe")
        os.truncate(os.open("giant", os.O_CREAT | os.O_RDWR), 60 << 20)
        os.mkdir(b"\xff\n\x1b[2J")
        os.close(os.open(b"-rf \xfe", os.O_CREAT))
        os.close(os.open(b"x" * 255, os.O_CREAT))
        tries = Tries()
        tries("device", os.mknod, "device", stat.S_IFCHR | 0o600, os.makedev(1, 5))
        tries("block device", os.mknod, "disk", stat.S_IFBLK | 0o600, os.makedev(8, 0))
        tries("socket", os.mknod, "socket", stat.S_IFSOCK | 0o600)
        tries.tell()
