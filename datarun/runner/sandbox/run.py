"""Runs one task in a child of a zygote: feeds it, listens to it, limits it, ends it with all its descent."""

import contextlib
import itertools
import json
import math
import os
import selectors
import signal
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from datarun.contract.failures import FailureKind
from datarun.contract.messages import Limits
from datarun.contract.states import Stage
from datarun.runner import predictions

from .forked import Forked, kill_group
from .lockdown import MAX_PROCESSES
from .log import BoundedLog
from .task import MAX_RSS_UNIT, Task
from .usage import Mark, Usage
from .warm import ZygoteError

_TICK = 0.1  # seconds between two looks at the clock
_LOOK = 0.25  # seconds between two looks at how many processes the job has, and what they have used
_LONGEST_LOOK = 0.5  # seconds that a look at shared memory may take
_SHARE = 0.2  # of the time, at most, goes into such looks
_AGAIN = 0.5  # seconds after which a child that still lives is killed again
_PATIENCE = 30.0  # seconds after the first time that its end may take
#: Bytes: the longest traceback, should JSON make twelve of every character; and all reports without predictions.
_LONGEST_REPORT = 1 << 20
_MOST_REPORTS = 2 << 20
_LONGEST_END = 256
_CHUNK = 1 << 16  # bytes that are read at a time: all that a pipe holds (pipe(7))
_PARTS = ("train", "test")
#: Files, folders and open descriptors of a job, and the bytes that a file and a folder count for at least: both
#: are scarce on some disks, and folders take long to remove.
_MOST_FILES = 100_000
_LEAST_FILE, _LEAST_FOLDER = 4 << 10, 64 << 10


class Interrupt(StrEnum):
    """Why a job ends that did nothing wrong."""

    STOP = "stop"  # the master does not want it any more
    LEAVE = "leave"  # the runner is leaving


@dataclass
class Ending:
    """How a child ended. `report` and `predictions` are what it last said, not to be believed."""

    stopped: FailureKind | None = None
    why: str = ""
    interrupt: Interrupt | None = None
    # None if it isn't known: the zygote has died too.
    exit_code: int | None = None
    # The most bytes that the child itself had in memory at a time.
    peak: int = 0
    # Whether the kernel killed a process of it for its control group's memory.
    memory_kill: bool = False
    # Whether it was locked down and ready to run what it was told to: what failed before is nobody's fault.
    started: bool = False
    # How far it says that it came.
    stage: Stage = Stage.STARTED
    report: Mapping[str, Any] = field(default_factory=dict)
    # When it started, at each stage that it reached after that, and when it was done or had failed.
    marks: list[Mark] = field(default_factory=list)
    # Part → what should be `.npy`.
    predictions: dict[str, bytes] = field(default_factory=dict)
    log: str = ""

    @property
    def left(self) -> int:
        """The bytes that it had in memory when it was last looked at, shared ones too."""
        return self.marks[-1].anonymous if self.marks else 0


class Watcher:
    """What a running job's surroundings want to know, and may ask for."""

    def stage(self, stage: str) -> None:
        """The job says that it has come to `stage`."""

    def output(self, chunk: bytes) -> None:
        """The job has printed this."""

    def tick(self) -> Interrupt | None:
        """Called several times a second; anything but None ends the job."""
        return None


class Run:
    """One task in a child, which gets it here: `supervise` it, then `bury` it."""

    def __init__(self, child: Forked, task: Task, limits: Limits, watcher: Watcher) -> None:
        self._job, self._limits, self._watcher = child.folder.root, limits, watcher
        self._leader, self._cgroup = child.leader, child.cgroup
        self._usage: Usage | None = None
        self._log, self._ending, self._reports = BoundedLog(), Ending(), _Reports(self._to_follow, self._hear)
        self._end = b""
        self._stages_due = [Stage.TRAINED, Stage.VALIDATED]
        self._parts_due = list(_PARTS)
        self._kill_at = self._ended_by = math.inf
        self._selector = selectors.DefaultSelector()
        callbacks = (self._reports.add, self._hear_output, self._hear_end)
        for descriptor, callback in zip(child.hear_by(), callbacks, strict=True):
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ, callback)
        if self._cgroup:
            self._cgroup.limit(limits.memory, MAX_PROCESSES)
        self._given, _ = _used(_files(self._job))
        self._killed, self._refused = self._count_killed(), self._count_refused()
        child.give(task)

    def supervise(self) -> Ending:
        """Returns when the child has done its task, or when no process of it is left; raises `ZygoteError`.

        Who has done its task is killed by now, with all that it has started; `bury` waits for the last of them.
        """
        started = time.monotonic()
        self._next_look = self._next_measure = started + _LOOK
        while self._selector.get_map() and not self._is_done():
            self._listen()
            if self._is_running():
                self._judge(time.monotonic() - started)
        self._ending.exit_code, self._ending.peak = self._end_told()
        self._ending.memory_kill = self._count_killed() > self._killed
        self._ending.log = self._log.text()
        return self._ending

    def bury(self) -> None:
        """Returns when no process of the child is left; raises `ZygoteError` if that can't be told."""
        try:
            if self._selector.get_map():
                self._kill()
            while self._selector.get_map():
                self._listen()
        finally:
            self._kill()
            self._close()

    def _listen(self) -> None:
        for key, _ in self._selector.select(_TICK):
            self._read(key)
        now = time.monotonic()
        if now > self._ended_by:
            raise ZygoteError("The process that holds the data does not tell how its child has ended.")
        if now > self._kill_at:
            self._kill()

    def _is_done(self) -> bool:
        """Whether it said so, and all that it printed before has been read."""
        if self._ending.report.get("event") != "done":
            return False
        for key in list(self._selector.get_map().values()):
            if key.data == self._hear_output:
                with contextlib.suppress(BlockingIOError):
                    self._read(key)
        return True

    def _is_running(self) -> bool:
        return self._ending.stopped is None and self._ending.interrupt is None

    def _close(self) -> None:
        for key in list(self._selector.get_map().values()):
            os.close(key.fd)
        self._selector.close()
        if self._usage:
            self._usage.close()

    def _read(self, key: selectors.SelectorKey) -> None:
        chunk = os.read(key.fd, _CHUNK)
        if chunk:
            key.data(chunk)
        else:
            self._selector.unregister(key.fd)
            os.close(key.fd)
            if key.data == self._hear_end and not self._end:
                self._kill()  # the zygote has died, and with it who would end what the child has left

    # --- listening ---------------------------------------------------------------------------------

    def _hear_output(self, chunk: bytes) -> None:
        self._log.add(chunk)
        self._watcher.output(chunk)

    def _hear_end(self, chunk: bytes) -> None:
        self._end = (self._end + chunk)[:_LONGEST_END]

    def _end_told(self) -> tuple[int | None, int]:
        """Exit code and peak memory as the zygote tells them."""
        if not self._end:
            return None, 0
        told = json.loads(self._end)
        return int(told["code"]), int(told["max_rss"]) * MAX_RSS_UNIT

    def _to_follow(self, report: Mapping[str, Any]) -> int:
        """How many bytes belong to the report: those of predictions that are due, if they are not too many."""
        size = report.get("size")
        due = report.get("event") == "predictions" and report.get("part") in self._parts_due[:1]
        return size if due and isinstance(size, int) and 0 <= size <= predictions.MOST_BYTES else 0

    def _hear(self, report: Mapping[str, Any], content: bytes) -> None:
        event = report.get("event")
        if event == "stage":
            if self._stages_due and report.get("stage") == self._stages_due[0]:
                self._ending.stage = self._stages_due.pop(0)
                self._mark()
                self._watcher.stage(self._ending.stage)
        elif event == "predictions":
            if self._parts_due and report.get("part") == self._parts_due[0]:
                self._ending.predictions[self._parts_due.pop(0)] = content
        elif event == "started":
            if not self._ending.started:
                self._mark()
            self._ending.started = True
        elif event in ("done", "failed"):
            self._ending.report = report
            self._mark()
            if event == "done":
                self._kill()  # what it has started and left

    def _mark(self) -> None:
        with contextlib.suppress(OSError, psutil.Error):  # it has ended by now
            self._usage = self._usage or Usage(self._leader)
            self._ending.marks.append(self._usage.mark())

    # --- limiting ----------------------------------------------------------------------------------

    def _judge(self, seconds: float) -> None:
        if seconds > self._limits.wall:
            self._stop(FailureKind.TIMEOUT, f"Stopped after {self._limits.wall:g} s, its time limit.")
        elif (interrupt := self._watcher.tick()) is not None:
            self._ending.interrupt = interrupt
            self._kill()
        elif self._reports.number > _MOST_REPORTS:
            self._stop(FailureKind.USER_ERROR, "Stopped: it wrote into a pipe that is not its own.")
        elif time.monotonic() >= self._next_look:
            tree = self._count()
            if self._is_running() and time.monotonic() >= self._next_measure:
                self._measure(tree)

    def _count(self) -> list[psutil.Process]:
        """The job's processes, which it ends if they are too many."""
        start = time.monotonic()
        if self._count_refused() > self._refused:  # before so many are looked at one by one
            self._stop(FailureKind.USER_ERROR, _too_many(MAX_PROCESSES))
            return []
        tree = list(_session(self._leader))
        if (number := int(_total(tree, _threads))) > MAX_PROCESSES:
            self._stop(FailureKind.USER_ERROR, _too_many(number))
        self._next_look = _next(start)
        return tree

    def _measure(self, tree: list[psutil.Process]) -> None:
        """Ends the job if its processes have used more than they may. What is quick to learn comes first."""
        start, limits = time.monotonic(), self._limits
        if why := self._memory_excess(tree):
            self._stop(FailureKind.MEMORY, f"{why}: its limit is {limits.memory >> 20} MiB.")
        elif limits.cpu is not None and _total(tree, _cpu_seconds) > limits.cpu:
            self._stop(FailureKind.TIMEOUT, f"Stopped after {limits.cpu:g} s of processor time, its limit.")
        elif why := self._disk_excess(tree):
            self._stop(FailureKind.DISK, why)
        self._next_measure = _next(start)

    def _count_killed(self) -> int:
        return self._cgroup.memory_kills() if self._cgroup else 0

    def _count_refused(self) -> int:
        return self._cgroup.refused_processes() if self._cgroup else 0

    def _memory_excess(self, tree: list[psutil.Process]) -> str:
        """Why it has too much memory; "" if it has not."""
        if self._cgroup:
            # Its first process would have ended with the job.
            return "One of its processes was ended for memory" * (self._count_killed() > self._killed)
        used = _memory(tree, self._limits.memory)
        return f"Stopped at {used >> 20} MiB of memory" if used > self._limits.memory else ""

    def _disk_excess(self, tree: list[psutil.Process]) -> str:
        """Why its files are too large or too many; "" if they are not."""
        limit = self._limits.disk
        try:
            used, number = _used(itertools.chain(_files(self._job), _nameless(tree)), limit + self._given)
        except OSError as error:
            return f"Stopped: its files can't be counted ({error.strerror})."
        if number > _MOST_FILES:
            return f"Stopped with more than {_MOST_FILES} files: no job may have so many."
        used -= self._given
        return (
            f"Stopped with {used >> 20} MiB of files: its limit is {limit >> 20} MiB." if used > limit else ""
        )

    def _stop(self, kind: FailureKind, why: str) -> None:
        self._ending.stopped, self._ending.why = kind, why
        self._kill()

    def _kill(self) -> None:
        """Kills the child and its descent; the zygote buries them, and tells the end.

        Then nothing of it is left, and its number may be another's.
        """
        if not self._end:
            kill_group(self._leader)
            if self._cgroup:
                self._cgroup.kill()
        now = time.monotonic()
        self._kill_at, self._ended_by = now + _AGAIN, min(self._ended_by, now + _PATIENCE)


def _next(start: float) -> float:
    """When to look again after a look that began at `start` and ends now."""
    end = time.monotonic()
    return end + max(_LOOK, (end - start) / _SHARE)


def _too_many(number: int) -> str:
    return f"Stopped with {number} processes and threads: its limit is {MAX_PROCESSES}."


class _Reports:
    """Cuts what a child writes into reports: lines of JSON, some with as many bytes after them as `to_follow` says.

    A line that is too long is no report. `number` counts the bytes of all lines.
    """

    def __init__(
        self,
        to_follow: Callable[[Mapping[str, Any]], int],
        hear: Callable[[Mapping[str, Any], bytes], None],
    ) -> None:
        self._to_follow, self._hear = to_follow, hear
        self._line, self._too_long = bytearray(), False
        self._report: Mapping[str, Any] = {}
        self._content, self._missing = bytearray(), 0
        self.number = 0

    def add(self, chunk: bytes) -> None:
        at = 0
        while at < len(chunk):
            at = self._add_content(chunk, at) if self._missing else self._add_line(chunk, at)

    def _add_content(self, chunk: bytes, at: int) -> int:
        part = chunk[at : at + self._missing]
        self._content += part
        self._missing -= len(part)
        if not self._missing:
            content, self._content = bytes(self._content), bytearray()
            self._hear(self._report, content)
        return at + len(part)

    def _add_line(self, chunk: bytes, at: int) -> int:
        end = chunk.find(b"\n", at)
        stop = len(chunk) if end < 0 else end
        self.number += stop - at + 1
        self._too_long = self._too_long or len(self._line) + stop - at > _LONGEST_REPORT
        if not self._too_long:
            self._line += chunk[at:stop]
        if end < 0:
            return stop
        line, too_long = bytes(self._line), self._too_long
        self._line, self._too_long = bytearray(), False
        if line.startswith(b"{") and not too_long:
            self._report = _parse(line)
            self._missing = self._to_follow(self._report)
            if not self._missing:
                self._hear(self._report, b"")
        return end + 1


def _parse(line: bytes) -> Mapping[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        report = json.loads(line)
        if isinstance(report, dict):
            return report
    return {}


def _session(leader: int) -> list[psutil.Process]:
    """The child and its descent: nothing can leave its session."""
    tree = []
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(pid) == leader:
                tree.append(psutil.Process(pid))
    return tree


def _memory(tree: list[psutil.Process], limit: int) -> int:
    """Bytes that the whole tree has in memory. What its processes share is counted once, if it matters and
    there is time: it is slow to learn, most of all of processes that fork."""
    used = _total(tree, _resident)
    if used <= limit:
        return int(used)
    until = time.monotonic() + _LONGEST_LOOK
    return int(_total(tree, lambda p: _proportional(p) if time.monotonic() < until else _resident(p)))


def _total(tree: list[psutil.Process], count: Callable[[psutil.Process], float]) -> float:
    total = 0.0
    for process in tree:
        with contextlib.suppress(psutil.Error):
            total += count(process)
    return total


def _cpu_seconds(process: psutil.Process) -> float:
    """Seconds of processor time of the process and of its children that have ended."""
    return float(sum(process.cpu_times()[:4]))


def _threads(process: psutil.Process) -> float:
    return float(process.num_threads())


def _resident(process: psutil.Process) -> int:
    """Bytes that the process has in memory, shared or not."""
    return int(process.memory_info().rss)


def _proportional(process: psutil.Process) -> int:
    """The same, of what it shares with n processes an nth. Slower to learn."""
    with contextlib.suppress(psutil.AccessDenied):
        info = process.memory_full_info()
        return int(getattr(info, "pss", info.uss))
    return _resident(process)


def _files(folder: Path) -> Iterator[int]:
    """What each file and folder below `folder` takes of the disk; raises OSError if it can't be seen."""
    folders = [os.fspath(folder)]  # no recursion: a job may nest them as deep as it likes
    while folders:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    least = _LEAST_FILE
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                        least = _LEAST_FOLDER
                    yield max(entry.stat(follow_symlinks=False).st_blocks * 512, least)


def _nameless(tree: list[psutil.Process]) -> Iterator[int]:
    """What each open descriptor of these processes takes of the disk: nothing, unless its file was removed."""
    seen = set()
    for process in tree:
        with contextlib.suppress(OSError), os.scandir(f"/proc/{process.pid}/fd") as descriptors:
            for descriptor in descriptors:
                with contextlib.suppress(OSError):
                    status = descriptor.stat()
                    removed = stat.S_ISREG(status.st_mode) and status.st_nlink == 0
                    yield status.st_blocks * 512 if removed and status.st_ino not in seen else 0
                    seen.add(status.st_ino)


def _used(sizes: Iterator[int], most: float = math.inf) -> tuple[int, int]:
    """Sum and number of the sizes; it counts no further than `most` and `_MOST_FILES`."""
    used = number = 0
    for size in sizes:
        used, number = used + size, number + 1
        if used > most or number > _MOST_FILES:
            break
    return used, number


def signal_name(exit_code: int) -> str:
    """The name of the signal that a negative exit code stands for."""
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"
