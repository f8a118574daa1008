"""Tries out, in a process of its own, what a submission could do on this machine: what is in force is what failed.

``python -m datarun.runner.sandbox.probe CANARY`` locks itself down as a fold is, tries to break out, and prints
a line of JSON. `protections` runs it and says what it means.
"""

import contextlib
import json
import mmap
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import cgroup, landlock, lockdown, seccomp, system, users

_MEMORY = 1 << 30
_TIMEOUT = 30.0
_NAMESPACES = ("net", "ipc", "uts", "mnt", "user")


@dataclass(frozen=True, slots=True)
class Protection:
    """One thing that keeps a submission in, and whether it is in force here."""

    name: str
    in_force: bool
    text: str
    #: Without it no submission may run that is not trusted.
    needed: bool


def protections() -> list[Protection]:
    """What keeps submissions in, on this machine and for this user: tried out, not assumed."""
    refused = _try()
    version = landlock.version()
    group = cgroup.make(f"datarun-probe-{os.getpid()}")
    if group is not None:
        group.remove()
    own = [name for name in _NAMESPACES if refused.get(name)]
    return [
        Protection("files", refused["files"], _FILES[version > 0].format(version=version), needed=True),
        Protection("network", refused["network"], _SECCOMP["network"], needed=True),
        Protection("memory", refused["memory"], _MEMORY_TEXT[system.LINUX], needed=True),
        Protection("kill", refused["kill"], _SECCOMP["kill"], needed=True),
        Protection("signals", refused["signals"], _SIGNALS[landlock.scopes_signals()], needed=True),
        Protection("system calls", refused["calls"], _SECCOMP["calls"], needed=False),
        Protection(
            "control group",
            group is not None,
            f"Version {group.version}: memory and processes of a fold's whole tree."
            if group
            else "None may be made here: memory is looked at several times a second instead. "
            "systemd's Delegate=memory pids gives a service its own.",
            needed=False,
        ),
        Protection("namespaces", bool(own), f"Of its own: {', '.join(own) or 'none'}.", needed=False),
        Protection("user", refused["root"], _user(refused["root"]), needed=False),
    ]


_FILES = {
    True: "Landlock version {version}: files by allow-list.",
    False: "Landlock is missing: it needs Linux from 5.13 on, with landlock among the kernel's lsm= modules.",
}
_SECCOMP = {
    "network": "seccomp: no sockets of any family.",
    "kill": "seccomp: nothing leaves its session, so that one signal ends a fold and all its descent.",
    "calls": "seccomp: no other process's memory, no mounts, no namespaces, no bpf, no io_uring.",
}
if not seccomp.available():
    _SECCOMP = dict.fromkeys(_SECCOMP, "seccomp is missing: Debian and Ubuntu have it in libseccomp2.")
_MEMORY_TEXT = {
    True: "Limits of each process, and of the tree.",
    False: "Only Linux limits what a process maps.",
}
_SIGNALS = {
    True: "Landlock: a fold signals its own processes only.",
    False: "seccomp: a fold signals its own group and its first process only.",
}


def _user(in_force: bool) -> str:
    if os.geteuid() != 0:
        return "The runner is no root."
    if in_force:
        return f"The folds of each data set run as a user that is nobody's, of {users.USERS[0]} to {users.USERS[-1]}."
    with _folder() as folder:
        why = users.problem(folder) or "that could not be done"
    return f"Folds are root, without its capabilities, rather than a user of their own: {why}."


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Like the folder of a runner."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o711)
        yield folder


def _try() -> dict[str, bool]:
    """What a process that is locked down as a fold is was refused, by name."""
    refused = dict.fromkeys(("files", "network", "memory", "kill", "signals", "calls", "root"), False)
    with _folder() as folder, contextlib.suppress(subprocess.TimeoutExpired, ValueError):
        canary = folder / "canary"
        canary.write_text("canary")
        canary.chmod(0o644)
        jobs = folder / "zygote" / "jobs"
        jobs.mkdir(parents=True)
        if not users.problem(folder):
            users.give(users.pick(), (jobs.parent, jobs))
        command = (sys.executable, "-P", "-m", "datarun.runner.sandbox.probe", str(canary), str(jobs.parent))
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}
        answer = subprocess.run(
            command, capture_output=True, timeout=_TIMEOUT, env=environment, cwd=folder, check=False
        )
        refused |= json.loads(answer.stdout)
    return refused


def main() -> None:
    canary, folder = map(Path, sys.argv[1:3])
    canary.read_text()  # it is there, and readable
    before = _namespaces()
    parent = os.getppid()
    lockdown.lock_zygote(folder)
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        lockdown.lock_child([folder / "jobs"], [])
        lockdown.limit_child(_MEMORY, _MEMORY)
        attempts: dict[str, Callable[[], object]] = {
            "files": canary.read_text,
            "network": socket.socket,
            "memory": lambda: mmap.mmap(-1, 8 * _MEMORY, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS),
            "kill": os.setsid,
            "signals": lambda: os.kill(parent, 0),
            "calls": lambda: system.call("unshare", 0x20000),
        }
        refused = {name: _is_refused(attempt) for name, attempt in attempts.items()}
        refused["root"] = 0 not in os.getresuid()
        refused |= {name: before[name] != now for name, now in _namespaces().items()}
        os.write(write, json.dumps(refused).encode())
        os._exit(0)
    os.wait()
    sys.stdout.write(os.read(read, 4096).decode())


def _is_refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, MemoryError, AttributeError):
        return True
    return False


def _namespaces() -> dict[str, str]:
    found = {}
    for name in _NAMESPACES:
        with contextlib.suppress(OSError):
            found[name] = str(Path(f"/proc/self/ns/{name}").readlink())
    return found


if __name__ == "__main__":
    main()
