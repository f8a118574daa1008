"""A warm process for one data set: locked down, the scientific stack imported, X loaded; forks a child for each job.

`datarun.runner.sandbox.warm` starts it, sends one command at a time through a socket, a line of JSON with
descriptors, and gets one line back. When the socket ends, whoever started it is gone: everything below it is
killed.

It reads no labels and no file of a submission. What a child does is not seen here: only how it ended.
"""

import contextlib
import gc
import json
import os
import pickle
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from datarun.runner.workflows import Warm, data_set

from . import layout, lockdown, semaphores, system, warmup
from .child import Child
from .task import Task
from .tracebacks import describe

_STATUS, _TASK = 3, 4  # a child's descriptors beside the standard ones
_LONGEST = 1 << 16
_MOST_DESCRIPTORS = 8
_LOOK = 0.001  # seconds between two looks for who is left


class Zygote:
    """Answers commands until its socket ends."""

    def __init__(self, control: socket.socket, folder: Path) -> None:
        self._control, self._folder = control, folder
        self._warm = Warm(data=folder / "data", readable=[folder / "data"])
        # A child's process id → where its end is told; if it has ended, what is to be told.
        self._leaders: dict[int, int] = {}
        self._ended: dict[int, bytes] = {}
        self._wake, wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._own = (control.fileno(), self._wake, wake)

    def serve(self) -> None:
        semaphores.install()
        lockdown.prepare_children()
        self._settle()
        self._answer(ready=True)
        while True:
            # Who waits for the end of what a child has left goes on serving others.
            wait = _LOOK if self._ended else None
            ready, _, _ = select.select([self._control.fileno(), self._wake], [], [], wait)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
            self._reap()
            if self._control.fileno() in ready and not self._obey():
                break
        for leader in list(self._leaders):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(leader, signal.SIGKILL)
        while self._leaders:
            self._reap()
            time.sleep(_LOOK)

    def _obey(self) -> bool:
        """Does what the next command says; False when there will be none."""
        line, descriptors, _, _ = socket.recv_fds(self._control, _LONGEST, _MOST_DESCRIPTORS)
        while line and not line.endswith(b"\n"):
            line += self._control.recv(_LONGEST)
        if not line:
            return False
        command = json.loads(line)
        commands: dict[str, Callable[..., None]] = {
            "fork": self._fork,
            "load": self._load,
            "import": self._import,
        }
        do = commands[command.pop("do")]
        try:
            do(descriptors, **command)
        except Exception as error:  # noqa: BLE001
            # Whatever the organiser's module raised while it was imported or while X was made again.
            self._answer(error=describe(error, (self._warm.data, self._folder)))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _answer(self, **values: Any) -> None:
        self._control.sendall(json.dumps(values).encode() + b"\n")

    # --- what it is told -------------------------------------------------------------------------

    def _import(self, descriptors: Sequence[int], modules: list[str]) -> None:
        """Imports what submissions are about to import. It may not exist: that is theirs to say."""
        for name in modules:
            with contextlib.suppress(Exception):
                import_module(name)
        warmup.run_estimators(modules)
        self._settle()
        self._answer(imported=True)

    def _load(
        self, descriptors: Sequence[int], kind: str, source: str, readable: list[str], prepared: str
    ) -> None:
        """Gives up the raw data but what is `readable`, then takes over what a loader has `prepared`."""
        data = self._warm.data
        self._warm.readable = [data / name for name in readable]
        lockdown.lock_data([self._folder / "lib", *self._warm.readable], self._folder / "jobs")
        self._warm.module = data_set(kind).take_over(data / source)
        with Path(prepared).open("rb") as file:
            # What the organiser's own code has pickled, in a process that is locked down.
            self._warm.prepared = pickle.load(file)  # noqa: S301
        if kind == "csv":
            warmup.run_rows(self._warm.prepared[0])
        self._settle()
        self._answer(loaded=True)

    def _settle(self) -> None:
        """What is here now will be the same in every child: its memory is not to be touched again."""
        gc.collect()
        layout.settle()
        gc.freeze()
        self._warm.mapped = _mapped()

    def _fork(self, descriptors: Sequence[int], job: str) -> None:
        """`descriptors`: the child's report, its output, its end; its task; the control groups to enter."""
        status, log, end, task, *groups = descriptors
        child = os.fork()
        if child == 0:
            _be_child(Path(job), self._warm, (status, log, task, *groups))
        self._leaders[child] = os.dup(end)
        self._answer(pid=child)

    # --- how children end ------------------------------------------------------------------------

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid in self._leaders:
                    told = {"code": os.waitstatus_to_exitcode(status), "max_rss": usage.ru_maxrss}
                    self._ended[pid] = json.dumps(told).encode()
        for leader in list(self._ended):
            self._bury(leader)

    def _bury(self, leader: int) -> None:
        """Kills all that the child has left; once nothing is, tells its end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)
            return
        end = self._leaders.pop(leader)
        with contextlib.suppress(BrokenPipeError):
            os.write(end, self._ended.pop(leader))
        os.close(end)


def _mapped() -> int:
    """Bytes of private memory that this process has, and that its children begin with."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        return pages * resource.getpagesize()
    return 0


def _be_child(job: Path, warm: Warm, descriptors: Sequence[int]) -> None:
    """Becomes the child of one job, in a session of its own. Never returns."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        if system.LINUX:
            system.die_with_parent(signal.SIGKILL)
        _keep_only(descriptors)
        child = Child(job, warm, _STATUS)
        child.settle_in()
        if task := _read_task():
            child.main(Task.decode(task))
        code = 0
    except BaseException as error:  # noqa: BLE001
        # Our own, or of a submission that broke what we need: only the log can tell.
        sys.stderr.write(describe(error, (job, warm.data)) + "\n")
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            # Neither threads that the submission left nor what it made of its output keep this process alive.
            os._exit(code)


def _keep_only(descriptors: Sequence[int]) -> None:
    """Enters the control groups, and closes everything but input, output, report and task."""
    status, log, task, *groups = descriptors
    for group in groups:
        os.write(group, b"0")
    null = os.open(os.devnull, os.O_RDONLY)
    # First out of the way of the numbers that they are to have.
    moved = [os.dup(descriptor) for descriptor in (null, log, log, status, task)]
    high = max(moved) + 1
    moved = [os.dup2(descriptor, high + number) for number, descriptor in enumerate(moved)]
    for number, descriptor in enumerate(moved):
        os.dup2(descriptor, number)
    os.closerange(_TASK + 1, os.sysconf("SC_OPEN_MAX"))


def _read_task() -> bytes:
    """What it is to do, once that is known; nothing if it is not needed any more."""
    with open(_TASK, "rb") as file:
        return file.read()
