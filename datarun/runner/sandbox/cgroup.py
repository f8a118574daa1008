"""Control groups, where the runner may make some: one for each slot, which counts the fold's whole process tree.

Version 2 (cgroups(7)): below the runner's own group, if that was delegated with `memory` and `pids`. Version 1:
below its own groups of these two controllers. Nothing here decides what a limit is.
"""

import os
import re
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from . import system

_ROOT = Path("/sys/fs/cgroup")
_CONTROLLERS = ("memory", "pids")
#: Where the runner goes when its own group is to pass controllers on.
_SUPERVISOR = "datarun-supervisor"
_ROUNDS = 10


@dataclass(slots=True)
class Cgroup:
    """One group: its folders, one (version 2) or one a controller (version 1)."""

    memory: Path
    pids: Path
    version: int
    # What `limit` has set last.
    _limits: tuple[int, int] | None = None

    def limit(self, memory: int, processes: int) -> None:
        """Sets the limits in bytes and processes. A fold that meets the first is killed by the kernel."""
        if self._limits == (memory, processes):
            return
        _write(self.pids / "pids.max", str(processes))
        if self.version == 2:
            _write(self.memory / "memory.max", str(memory))
            # A kernel without swap accounting lacks the first; one before 4.19 the second, by which all of the
            # group ends, rather than the process that the kernel picks.
            for name, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
                with suppress(OSError):
                    _write(self.memory / name, value)
        else:
            # The limit with swap can't be below the one without, where it exists at all.
            both = self.memory / "memory.memsw.limit_in_bytes"
            with suppress(OSError):
                _write(both, "-1")
            _write(self.memory / "memory.limit_in_bytes", str(memory))
            with suppress(OSError):
                _write(both, str(memory))
        self._limits = (memory, processes)

    def entrances(self) -> list[int]:
        """Descriptors through which a process enters, by writing "0"; the caller closes them."""
        folders = {self.memory, self.pids}
        return [os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for folder in folders]

    def memory_kills(self) -> int:
        """How often the kernel has killed a process of this group for its memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        return _count(self.memory / name, "oom_kill")

    def refused_processes(self) -> int:
        """How often this group has had as many processes as it may, and was refused one more."""
        return _count(self.pids / "pids.events", "max")

    def kill(self) -> None:
        """Kills all that is in it, at once where the kernel can."""
        if self.version == 2 and (self.pids / "cgroup.kill").exists():
            _write(self.pids / "cgroup.kill", "1")
            return
        for pid in (self.pids / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def is_empty(self) -> bool:
        """Whether nothing of a job is left in it, that has not ended although it was killed."""
        return not (self.pids / "cgroup.procs").read_text()

    def remove(self) -> None:
        for folder in {self.memory, self.pids}:
            with suppress(
                OSError
            ):  # something in it has not ended yet; the group is empty and limits nothing
                folder.rmdir()


class Cgroups:
    """As many groups of one runner as there are jobs at a time; none where that isn't possible."""

    def __init__(self, name: str) -> None:
        self._name, self._number = f"datarun-{name}-{os.getpid()}-{secrets.token_hex(4)}", 0
        self._lock = threading.Lock()
        self._free: list[Cgroup] = []
        _remove_left(re.compile(rf"datarun-{re.escape(name)}-([0-9]+)-[0-9a-f]+-[0-9]+"))

    @contextmanager
    def one(self) -> Iterator[Cgroup | None]:
        """A group for one job."""
        with self._lock:
            group = self._free.pop() if self._free else self._make()
        try:
            yield group
        finally:
            if group is not None:
                with self._lock:
                    if group.is_empty():
                        self._free.append(group)

    def _make(self) -> Cgroup | None:
        self._number += 1
        return make(f"{self._name}-{self._number}")

    def close(self) -> None:
        with self._lock:
            for group in self._free:
                group.remove()
            self._free = []


def _remove_left(pattern: re.Pattern[str]) -> None:
    """Removes what a runner that was killed has left; `pattern` finds its process in a group's name."""
    for controller in ("", *_CONTROLLERS):
        own = _own(controller) if system.LINUX else None
        for folder in own.iterdir() if own else ():
            match = pattern.fullmatch(folder.name)
            if match and not Path(f"/proc/{match[1]}").exists():
                with suppress(OSError):
                    folder.rmdir()


def make(name: str) -> Cgroup | None:
    """A new group of this name, or the one that is left from before; None where that isn't possible."""
    for version in (_version_2, _version_1):
        with suppress(OSError):
            if (group := version(name)) is not None:
                return group
    return None


def _version_2(name: str) -> Cgroup | None:
    own = _own("")
    if own is None or not set(_CONTROLLERS) <= set(_words(own / "cgroup.controllers")):
        return None
    if not set(_CONTROLLERS) <= set(_words(own / "cgroup.subtree_control")):
        # Only groups without processes of their own pass controllers on, but for the root, which has no type.
        if (own / "cgroup.type").exists():
            _move_down(own)
        _write(own / "cgroup.subtree_control", " ".join(f"+{controller}" for controller in _CONTROLLERS))
    folder = own / name
    folder.mkdir(exist_ok=True)
    return Cgroup(folder, folder, 2)


def _move_down(own: Path) -> None:
    """Moves the processes of the group `own`, this one among them, into one below; those too that they start
    meanwhile."""
    supervisor = own / _SUPERVISOR
    supervisor.mkdir(exist_ok=True)
    for _ in range(_ROUNDS):
        if not (processes := _words(own / "cgroup.procs")):
            break
        for process in processes:
            with suppress(ProcessLookupError):  # it has just ended
                _write(supervisor / "cgroup.procs", process)


def _version_1(name: str) -> Cgroup | None:
    memory, pids = (_own(controller) for controller in _CONTROLLERS)
    if memory is None or pids is None:
        return None
    for own in (memory, pids):
        (own / name).mkdir(exist_ok=True)
    return Cgroup(memory / name, pids / name, 1)


def _own(controller: str) -> Path | None:
    """The folder of the group that this process is in; version 2's for the controller ""."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") and (controller or not controllers):
            folder = _ROOT / controllers / path.lstrip("/")
            # A version 2 supervisor that was moved down by an earlier call counts as still being above.
            if not controller and folder.name == _SUPERVISOR:
                folder = folder.parent
            # What lies outside of its cgroup namespace is named by "..": no way leads there.
            return folder if folder.is_dir() and ".." not in folder.parts else None
    return None


def _count(path: Path, event: str) -> int:
    lines = path.read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{event} "))


def _words(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def _write(path: Path, text: str) -> None:
    # Not `write_text`: these files are neither made nor truncated.
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
