"""Sends every fatal signal to its parent, the supervisor and every number it can think of."""

import os
import signal

from .tries import make_sure_that_it_is_contained

from .right import Right
from .tries import Tries

SUPERVISOR, MOST = @SUPERVISOR@, 5000


class Classifier(Right):
    def fit(self, X, y):
        make_sure_that_it_is_contained()
        tries = Tries()
        others = {os.getppid(), SUPERVISOR, *range(1, MOST)} - {os.getpid(), os.getpid() - 1}
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGUSR1, 0):
            for process in others:
                tries(f"signal {number} to {process}", os.kill, process, number)
                tries(f"signal {number} to group {process}", os.killpg, process + 1, number)
        for process in (os.getppid(), SUPERVISOR):
            for name in ("rt_sigqueueinfo", "tkill"):
                tries.call(name, process, signal.SIGTERM, 0)
            tries("pidfd", signal.pidfd_send_signal, os.pidfd_open(process), signal.SIGTERM)
        tries.tell()
