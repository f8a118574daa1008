"""Leaves a daemon that has forgotten where it came from."""

import os

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        read, write = os.pipe()
        if os.fork() == 0:
            if os.fork() == 0:
                os.chdir("/")
                os.umask(0)
                os.write(write, b"here")
                os.closerange(0, 100)
                os.execve("/bin/sleep", ["sleep", "61.5"], {})
            os._exit(0)
        os.wait()
        os.read(read, 4)
