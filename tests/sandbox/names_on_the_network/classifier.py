"""Asks for the address of a name, by every way that a program has."""

import socket
import subprocess

from .right import Right
from .tries import Tries

class Classifier(Right):
    def fit(self, X, y):
        tries = Tries()
        for name in ("localhost", "example.com"):
            tries(name, socket.gethostbyname, name)
            tries(f"{name} by the system", subprocess.check_output, ["/usr/bin/getent", "hosts", name])
        tries.tell()
