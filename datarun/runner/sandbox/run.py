"""The supervisor's side of the sandbox: starts a job's process tree, watches it, ends it.

It decides by the clock, by what the operating system tells and by the sizes it reads itself.
"""

import contextlib
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from datarun.contract.failures import FailureKind
from datarun.contract.messages import Limits
from datarun.contract.states import Stage

from . import leftovers
from .folder import MAX_RSS_UNIT, JobFolder
from .log import BoundedLog

_TICK = 0.1  # seconds between two looks at the clock
_LOOK = 0.25  # seconds between two looks at what the job has used
_OBEDIENCE = 2.0  # seconds that the keeper has to end its tree when it is told to
#: Bytes: the longest traceback, should JSON make twelve of every character.
_LONGEST_REPORT = 1 << 20
_LONGEST_EXIT = 256
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[3])


class Interrupt(StrEnum):
    """Why a job ends that did nothing wrong."""

    STOP = "stop"  # the master does not want it any more
    LEAVE = "leave"  # the runner is leaving


@dataclass
class Ending:
    """How a job's process tree ended. `report` is what the child last said, not to be believed."""

    stopped: FailureKind | None = None
    why: str = ""
    interrupt: Interrupt | None = None
    exit_code: int | None = None
    # The most bytes that the child itself had in memory at a time.
    peak: int = 0
    # How far it says that it came.
    stage: Stage = Stage.STARTED
    report: Mapping[str, Any] = field(default_factory=dict)
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


def run(folder: JobFolder, limits: Limits, threads: int, watcher: Watcher) -> Ending:
    """Runs the task in `folder` and returns when no process of it is left."""
    return _Run(folder, limits, threads, watcher).supervise()


class _Run:
    def __init__(self, folder: JobFolder, limits: Limits, threads: int, watcher: Watcher) -> None:
        self._folder, self._limits, self._watcher = folder, limits, watcher
        self._log, self._ending = BoundedLog(), Ending()
        self._status, self._exit = b"", b""
        self._stages_due = [Stage.TRAINED, Stage.VALIDATED]
        self._tree: list[psutil.Process] = []
        self._obey_until = math.inf
        self._given = _size(folder.root)
        self._next_look = time.monotonic() + _LOOK
        self._selector = selectors.DefaultSelector()
        status_read, status_write = os.pipe()
        exit_read, exit_write = os.pipe()
        self._keeper = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "datarun.runner.sandbox.keeper"),
                *(str(folder.root), str(status_write), str(exit_write)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(status_write, exit_write),
            env=_environment(folder, threads),
            cwd=folder.home,
            start_new_session=True,
        )
        self._top = psutil.Process(self._keeper.pid)
        os.close(status_write)
        os.close(exit_write)
        assert self._keeper.stdout is not None
        self._listen(self._keeper.stdout.fileno(), self._hear_output)
        self._listen(status_read, self._hear_status)
        self._listen(exit_read, self._hear_exit)
        self._pipes = (status_read, exit_read)

    def _listen(self, descriptor: int, callback: Callable[[bytes], None]) -> None:
        os.set_blocking(descriptor, False)
        self._selector.register(descriptor, selectors.EVENT_READ, callback)

    def supervise(self) -> Ending:
        started = time.monotonic()
        try:
            while self._selector.get_map() and not self._keeper_is_lost():
                for key, _ in self._selector.select(_TICK):
                    self._read(key)
                if self._ending.stopped is None and self._ending.interrupt is None:
                    self._judge(time.monotonic() - started)
        finally:
            self._end_tree()
            assert self._keeper.stdout is not None
            self._keeper.stdout.close()
            for descriptor in self._pipes:
                os.close(descriptor)
            self._selector.close()
        self._ending.exit_code, self._ending.peak = self._exit_said()
        self._ending.log = self._log.text()
        return self._ending

    def _read(self, key: selectors.SelectorKey) -> None:
        chunk = os.read(key.fd, 1 << 16)
        if chunk:
            key.data(chunk)
        else:
            self._selector.unregister(key.fd)

    def _hear_output(self, chunk: bytes) -> None:
        self._log.add(chunk)
        self._watcher.output(chunk)

    def _hear_exit(self, chunk: bytes) -> None:
        self._exit = (self._exit + chunk)[:_LONGEST_EXIT]

    def _exit_said(self) -> tuple[int | None, int]:
        """Exit code and peak memory as the keeper tells them; it may have been killed, or others write there."""
        with contextlib.suppress(ValueError, TypeError, KeyError):
            said = json.loads(self._exit)
            code, peak = said["code"], said["max_rss"]
            if isinstance(code, int) and isinstance(peak, int):
                return code, peak * MAX_RSS_UNIT
        return None, 0

    def _hear_status(self, chunk: bytes) -> None:
        *lines, self._status = (self._status + chunk)[-_LONGEST_REPORT:].split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                report = json.loads(line)
                if isinstance(report, dict):
                    self._hear(report)

    def _hear(self, report: Mapping[str, Any]) -> None:
        if report.get("event") != "stage":
            self._ending.report = report
        elif self._stages_due and report.get("stage") == self._stages_due[0]:
            self._ending.stage = self._stages_due.pop(0)
            self._watcher.stage(self._ending.stage)

    def _judge(self, seconds: float) -> None:
        if seconds > self._limits.wall:
            self._end(FailureKind.TIMEOUT, f"Stopped after {self._limits.wall:g} s, its time limit.")
        elif (interrupt := self._watcher.tick()) is not None:
            self._ending.interrupt = interrupt
            self._stop()
        elif time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK
            self._look()

    def _look(self) -> None:
        """Ends the job if its tree has used more than it may."""
        self._find_tree()
        limits = self._limits
        if (memory := int(self._memory())) > limits.memory:
            text = f"Stopped at {memory >> 20} MiB of memory: its limit is {limits.memory >> 20} MiB."
            self._end(FailureKind.MEMORY, text)
        elif limits.cpu is not None and self._total(_cpu_seconds) > limits.cpu:
            self._end(FailureKind.TIMEOUT, f"Stopped after {limits.cpu:g} s of processor time, its limit.")
        elif (disk := _size(self._folder.root) - self._given) > limits.disk:
            text = f"Stopped with {disk >> 20} MiB of files: its limit is {limits.disk >> 20} MiB."
            self._end(FailureKind.DISK, text)

    def _find_tree(self) -> None:
        with contextlib.suppress(psutil.Error):
            tree = self._top.children(recursive=True)
            if self._keeper.poll() is None:
                self._tree = tree

    def _memory(self) -> float:
        """Bytes that the whole tree has in memory. What its processes share is counted once, if it matters."""
        used = self._total(_resident)
        return used if used <= self._limits.memory else self._total(_proportional)

    def _total(self, count: Callable[[psutil.Process], float]) -> float:
        total = 0.0
        for process in self._tree:
            with contextlib.suppress(psutil.Error):
                total += count(process)
        return total

    def _end(self, kind: FailureKind, why: str) -> None:
        self._ending.stopped, self._ending.why = kind, why
        self._stop()

    def _stop(self) -> None:
        """Tells the keeper to end its tree; it does so by itself when this process dies."""
        assert self._keeper.stdin is not None
        if not self._keeper.stdin.closed:
            self._obey_until = time.monotonic() + _OBEDIENCE
            with contextlib.suppress(BrokenPipeError):
                self._keeper.stdin.close()

    def _keeper_is_lost(self) -> bool:
        """Whether the keeper was killed, or doesn't end what it was told to end."""
        return bool(self._keeper.poll()) or time.monotonic() > self._obey_until

    def _end_tree(self) -> None:
        """Returns when no process of the job is left, whatever it has done to its keeper."""
        self._stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._keeper.wait(max(0.0, self._obey_until - time.monotonic())) == 0:
                return
        leftovers.end(self._folder, [self._top, *self._tree])
        self._keeper.wait()


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


def _environment(folder: JobFolder, threads: int) -> dict[str, str]:
    """Nothing of the runner's own environment: no credentials, and the same for every job."""
    home, number = str(folder.home), str(threads)
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": home,
        "TMPDIR": home,
        "LANG": "C.UTF-8",
        "PYTHONPATH": _PACKAGE_ROOT,
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": number,
        "OPENBLAS_NUM_THREADS": number,
        "MKL_NUM_THREADS": number,
        "LOKY_MAX_CPU_COUNT": number,
    }


def _cpu_seconds(process: psutil.Process) -> float:
    """Seconds of processor time of the process and of its children that have ended."""
    return float(sum(process.cpu_times()[:4]))


def _resident(process: psutil.Process) -> int:
    """Bytes that the process has in memory, shared or not."""
    return int(process.memory_info().rss)


def _proportional(process: psutil.Process) -> int:
    """The same, of what it shares with n processes an nth. Slower to learn, and a process may hide it."""
    with contextlib.suppress(psutil.AccessDenied):
        info = process.memory_full_info()
        return int(getattr(info, "pss", info.uss))
    return _resident(process)


def signal_name(exit_code: int) -> str:
    """The name of the signal that a negative exit code stands for."""
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"
