"""Has the kernel kill it, by other ways than a signal that it sends: by limits and timers."""

import ctypes
import os
import resource
import signal

from .right import Right
from .tries import Tries


class Event(ctypes.Structure):
    """``struct sigevent``."""

    _fields_ = (("value", ctypes.c_void_p), ("signal", ctypes.c_int), ("notify", ctypes.c_int), ("rest", ctypes.c_char * 48))


class Classifier(Right):
    def fit(self, X, y):
        tries, clocks = Tries(), (0, 1)
        tries("limit", resource.setrlimit, resource.RLIMIT_CPU, (10**6, 10**6))
        tries.call("setrlimit", resource.RLIMIT_CPU, (ctypes.c_long * 2)(10**6, 10**6))
        for clock in clocks:
            tries.call("timer_create", clock, ctypes.byref(Event(signal=signal.SIGKILL)), ctypes.byref(ctypes.c_int()))
        resource.getrlimit(resource.RLIMIT_CPU)  # which asks for no change
        tries.tell()
