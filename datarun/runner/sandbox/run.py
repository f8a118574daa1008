"""Runs one task in a child of a zygote: feeds it, listens to it, limits it, ends it with all its descent."""

import contextlib
import json
import math
import os
import selectors
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

import psutil

from datarun.contract.failures import FailureKind
from datarun.contract.messages import Limits
from datarun.contract.states import Stage

from . import system
from .cgroup import Cgroup
from .lockdown import MAX_PROCESSES
from .log import BoundedLog
from .task import MAX_OUTPUT, MAX_RSS_UNIT, Task
from .warm import Zygote, kill_group

_TICK = 0.1  # seconds between two looks at the clock
_LOOK = 0.25  # seconds between two looks at what the job has used
_AGAIN = 0.5  # seconds after which a child that still lives is killed again
#: Bytes: the longest traceback, should JSON make twelve of every character.
_LONGEST_REPORT = 1 << 20
_LONGEST_END = 256
_PARTS = ("train", "test")


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
    # How far it says that it came.
    stage: Stage = Stage.STARTED
    report: Mapping[str, Any] = field(default_factory=dict)
    # Part → what should be `.npy`.
    predictions: dict[str, bytes] = field(default_factory=dict)
    log: str = ""


class Watcher:
    """What a running job's surroundings want to know, and may ask for."""

    def stage(self, stage: str) -> None:
        """The job says that it has come to `stage`."""

    def output(self, chunk: bytes) -> None:
        """The job has printed this."""

    def tick(self) -> Interrupt | None:
        """Called several times a second; anything but None ends the job."""
        return None


def run(
    zygote: Zygote, job: Path, task: Task, limits: Limits, watcher: Watcher, cgroup: Cgroup | None = None
) -> Ending:
    """Runs `task` in the folder `job` and returns when no process of it is left; raises `ZygoteError`."""
    return _Run(zygote, job, task, limits, watcher, cgroup).supervise()


class _Run:
    def __init__(
        self,
        zygote: Zygote,
        job: Path,
        task: Task,
        limits: Limits,
        watcher: Watcher,
        cgroup: Cgroup | None,
    ) -> None:
        self._job, self._limits, self._watcher, self._cgroup = job, limits, watcher, cgroup
        self._log, self._ending, self._reports = BoundedLog(), Ending(), _Reports(self._hear)
        self._end = b""
        self._stages_due = [Stage.TRAINED, Stage.VALIDATED]
        self._parts_due = list(_PARTS)
        self._kill_at = math.inf
        self._selector = selectors.DefaultSelector()
        self._given = _size(job)
        self._memory_kills = cgroup.memory_kills() if cgroup else 0
        self._leader = self._fork(zygote, task)

    def _fork(self, zygote: Zygote, task: Task) -> int:
        with contextlib.ExitStack() as theirs:
            ends = []
            for callback in (self._reports.add, self._hear_output, self._hear_end):
                ours, end = os.pipe()
                theirs.callback(os.close, end)
                ends.append(end)
                os.set_blocking(ours, False)
                self._selector.register(ours, selectors.EVENT_READ, callback)
            file = theirs.enter_context(_memory_file())
            file.write(task.encode())
            file.flush()
            for group in self._cgroup.entrances() if self._cgroup else ():
                theirs.callback(os.close, group)
                ends.append(group)
            ends.insert(3, file.fileno())
            try:
                return zygote.fork(self._job, ends)
            except BaseException:
                self._close()
                raise

    def supervise(self) -> Ending:
        started = time.monotonic()
        self._next_look = started + _LOOK
        try:
            while self._selector.get_map():
                for key, _ in self._selector.select(_TICK):
                    self._read(key)
                now = time.monotonic()
                if now > self._kill_at:
                    self._kill()
                elif self._is_running():
                    self._judge(now - started)
        finally:
            kill_group(self._leader)
            self._close()
        self._ending.exit_code, self._ending.peak = self._end_told()
        if self._cgroup:
            self._ending.memory_kill = self._cgroup.memory_kills() > self._memory_kills
        self._ending.log = self._log.text()
        return self._ending

    def _is_running(self) -> bool:
        return self._ending.stopped is None and self._ending.interrupt is None

    def _close(self) -> None:
        for key in list(self._selector.get_map().values()):
            os.close(key.fd)
        self._selector.close()

    def _read(self, key: selectors.SelectorKey) -> None:
        chunk = os.read(key.fd, 1 << 16)
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

    def _hear(self, report: Mapping[str, Any], content: bytes) -> None:
        event = report.get("event")
        if event == "stage":
            if self._stages_due and report.get("stage") == self._stages_due[0]:
                self._ending.stage = self._stages_due.pop(0)
                self._watcher.stage(self._ending.stage)
        elif event == "predictions":
            if self._parts_due and report.get("part") == self._parts_due[0]:
                self._ending.predictions[self._parts_due.pop(0)] = content
        else:
            self._ending.report = report
            if event == "done":
                self._kill()  # what it has started and left

    # --- limiting ----------------------------------------------------------------------------------

    def _judge(self, seconds: float) -> None:
        if seconds > self._limits.wall:
            self._stop(FailureKind.TIMEOUT, f"Stopped after {self._limits.wall:g} s, its time limit.")
        elif (interrupt := self._watcher.tick()) is not None:
            self._ending.interrupt = interrupt
            self._kill()
        elif time.monotonic() >= self._next_look:
            self._look()
            self._next_look = time.monotonic() + _LOOK

    def _look(self) -> None:
        """Ends the job if its processes have used more than they may."""
        tree, limits = list(_session(self._leader)), self._limits
        if (memory := _memory(tree, limits.memory)) > limits.memory:
            text = f"Stopped at {memory >> 20} MiB of memory: its limit is {limits.memory >> 20} MiB."
            self._stop(FailureKind.MEMORY, text)
        elif limits.cpu is not None and _total(tree, _cpu_seconds) > limits.cpu:
            self._stop(FailureKind.TIMEOUT, f"Stopped after {limits.cpu:g} s of processor time, its limit.")
        elif (disk := _size(self._job) - self._given) > limits.disk:
            text = f"Stopped with {disk >> 20} MiB of files: its limit is {limits.disk >> 20} MiB."
            self._stop(FailureKind.DISK, text)
        elif (number := int(_total(tree, _threads))) > MAX_PROCESSES:
            text = f"Stopped with {number} processes and threads: the limit is {MAX_PROCESSES}."
            self._stop(FailureKind.USER_ERROR, text)

    def _stop(self, kind: FailureKind, why: str) -> None:
        self._ending.stopped, self._ending.why = kind, why
        self._kill()

    def _kill(self) -> None:
        """Kills the child and its descent; the zygote buries them, and tells the end."""
        kill_group(self._leader)
        self._kill_at = time.monotonic() + _AGAIN


class _Reports:
    """Cuts what a child writes into reports: lines of JSON, some followed by as many bytes as they say."""

    def __init__(self, hear: Callable[[Mapping[str, Any], bytes], None]) -> None:
        self._hear = hear
        self._buffer = bytearray()
        self._report: Mapping[str, Any] | None = None
        self._size = 0

    def add(self, chunk: bytes) -> None:
        self._buffer += chunk
        while self._next():
            pass

    def _next(self) -> bool:
        """Whether there was one more report in what has come."""
        if self._report is None:
            end = self._buffer.find(b"\n")
            if end < 0:
                del self._buffer[:-_LONGEST_REPORT]
                return False
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._report = _parse(line)
            size = self._report.get("size")
            self._size = size if isinstance(size, int) and 0 <= size <= MAX_OUTPUT else 0
        if len(self._buffer) < self._size:
            return False
        content = bytes(self._buffer[: self._size])
        del self._buffer[: self._size]
        report, self._report = self._report, None
        self._hear(report, content)
        return True


def _memory_file() -> IO[bytes]:
    if system.LINUX:
        return os.fdopen(os.memfd_create("task"), "w+b")
    return tempfile.TemporaryFile()


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
    """Bytes that the whole tree has in memory. What its processes share is counted once, if it matters."""
    used = _total(tree, _resident)
    return int(used if used <= limit else _total(tree, _proportional))


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


def _size(folder: Path) -> int:
    """Bytes on disk of the files below `folder`."""
    total, folders = 0, [os.fspath(folder)]  # no recursion: a job may nest them as deep as it likes
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def signal_name(exit_code: int) -> str:
    """The name of the signal that a negative exit code stands for."""
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"
