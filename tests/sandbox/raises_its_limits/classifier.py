"""Gives itself more than it was given."""

import resource

from .right import Right
from .tries import Tries

class Classifier(Right):
    def fit(self, X, y):
        tries = Tries()
        for name in ("CORE", "FSIZE", "NOFILE", "DATA", "MEMLOCK", "MSGQUEUE"):
            number = getattr(resource, f"RLIMIT_{name}")
            soft, hard = resource.getrlimit(number)
            tries(name, resource.setrlimit, number, (hard + 1, hard + 1))
            tries(f"{name} without end", resource.setrlimit, number, (resource.RLIM_INFINITY,) * 2)
        tries.tell()
