"""What the kernel counts of one process. Looks from outside, and believes nothing that the process says."""

import os
import re
import time
from dataclasses import dataclass

import psutil

from . import system

_PEAK = re.compile(rb"^VmHWM:\s*([0-9]+) kB$", re.M)
_ANONYMOUS = re.compile(rb"^RssAnon:\s*([0-9]+) kB$", re.M)
#: Where the times of a process, and of its children that have ended, stand behind its name (proc(5)).
_TIMES = slice(11, 15)
_TICKS = os.sysconf("SC_CLK_TCK")  # a second
_LONGEST = 1 << 12  # bytes of such a file


@dataclass(frozen=True, slots=True)
class Mark:
    """What a process had used at some moment."""

    #: Seconds on the supervisor's clock, and of processor time with children that have ended.
    time: float
    cpu: float
    #: The most memory that it had itself until then, in MiB; 0 once it has ended.
    memory: float
    #: The bytes of memory that it has then, without those of files.
    anonymous: int


class Usage:
    """Of the process `pid`, which is looked at several times: the kernel's files about it are opened once."""

    def __init__(self, pid: int) -> None:
        """Raises OSError if there is none."""
        self._pid = pid
        self._files: list[int] = []
        for name in ("stat", "status") if system.LINUX else ():
            self._files.append(os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC))

    def mark(self) -> Mark:
        """Raises OSError or `psutil.Error` if the process is gone."""
        if not self._files:
            return self._mark_elsewhere()
        stat, status = (os.pread(file, _LONGEST, 0) for file in self._files)
        ticks = sum(map(int, stat.rpartition(b") ")[2].split()[_TIMES]))
        peak, anonymous = _kibibytes(_PEAK, status), _kibibytes(_ANONYMOUS, status)
        return Mark(time.monotonic(), ticks / _TICKS, peak / (1 << 10), anonymous << 10)

    def _mark_elsewhere(self) -> Mark:
        """Where the kernel tells no peak: the memory that it has now."""
        process = psutil.Process(self._pid)
        resident = process.memory_info().rss
        return Mark(time.monotonic(), sum(process.cpu_times()[:4]), resident / (1 << 20), resident)

    def close(self) -> None:
        while self._files:
            os.close(self._files.pop())


def _kibibytes(pattern: re.Pattern[bytes], status: bytes) -> int:
    found = pattern.search(status)
    return int(found[1]) if found else 0
