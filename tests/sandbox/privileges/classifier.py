"""Looks for privileges: its own, and those of programs that give some."""

import os
import subprocess

from .right import Right
from .tries import Tries

class Classifier(Right):
    def fit(self, X, y):
        status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[name], 16) == 0 or (name == "CapBnd" and os.getuid()), status
        assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")
        tries = Tries()
        for name, arguments in (("setuid", (1234,)), ("setgid", (1234,)), ("setgroups", ([],)), ("chroot", (".",))):
            tries(name, getattr(os, name), *arguments)
        tries("switched user", subprocess.check_output, ["/bin/su", "-c", "true"], stderr=subprocess.DEVNULL)
        tries.tell()
