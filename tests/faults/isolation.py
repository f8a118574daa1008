"""This process and all it starts, in namespaces of their own: networks with cables to pull, disks to fill.

Only root may have that, on Linux. All of it is gone as soon as the last process in it has ended.
"""

import ctypes
import os
import subprocess
from pathlib import Path

from tests.services import debian

_NEW_MOUNTS, _NEW_NETWORK = 0x00020000, 0x40000000  # CLONE_NEWNS, CLONE_NEWNET of linux/sched.h

#: Where cables lead: the address of the broker, and that of the master's web.
BROKER, MASTER = "broker", "master"
_PREFIX = {BROKER: "10.77.1", MASTER: "10.77.2"}


def isolate() -> str:
    """Moves this process into new network and mount namespaces; returns why not if it can't.

    The new network has nothing but the loopback, with the two addresses.
    """
    if os.geteuid() != 0:
        return "only root can cut links and fill disks"
    debian.ensure("iproute2")
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS | _NEW_NETWORK):
        return f"no namespaces here: {os.strerror(ctypes.get_errno())}"
    _run("mount", "--make-rprivate", "/")
    _run("ip", "link", "set", "lo", "up")
    for end in _PREFIX:
        _run("ip", "address", "add", f"{address(end)}/32", "dev", "lo")
    return ""


def address(end: str) -> str:
    """Where machines find the broker, or the master."""
    return f"{_PREFIX[end]}.1"


class Machine:
    """A network namespace with two cables: to the broker and to the master. `number` is unique, from 1."""

    def __init__(self, number: int) -> None:
        self._number = number
        # It keeps the namespace, as long as this process lives; the rest is started with `prefix`.
        command = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            "--net",
            "sh",
            "-c",
            "echo; exec sleep infinity",
        ]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        self._holder.stdout.readline()  # the namespace is there
        self.prefix = ("nsenter", f"--net=/proc/{self._holder.pid}/ns/net")
        _run(*self.prefix, "ip", "link", "set", "lo", "up")
        for end in _PREFIX:
            self._connect(end)

    def _connect(self, end: str) -> None:
        peer = ("peer", "name", end, "netns", str(self._holder.pid))
        _run("ip", "link", "add", "name", self._cable(end), "type", "veth", *peer)
        self.plug(end)
        _run(*self.prefix, "ip", "address", "add", f"{self._own(end)}/32", "dev", end)
        _run(*self.prefix, "ip", "link", "set", "dev", end, "up")
        _run(*self.prefix, "ip", "route", "add", address(end), "dev", end)

    def pull(self, end: str) -> None:
        """Pulls the cable: nothing passes, and nobody is told."""
        _run("ip", "link", "set", "dev", self._cable(end), "down")

    def plug(self, end: str) -> None:
        """Plugs it in again."""
        _run("ip", "link", "set", "dev", self._cable(end), "up")
        _run("ip", "route", "replace", self._own(end), "dev", self._cable(end), "src", address(end))

    def close(self) -> None:
        for end in _PREFIX:
            _run("ip", "link", "delete", "dev", self._cable(end))
        self._holder.kill()
        self._holder.wait()

    def _own(self, end: str) -> str:
        return f"{_PREFIX[end]}.{self._number + 1}"

    def _cable(self, end: str) -> str:
        return f"{end}{self._number}"


class Disk:
    """A small file system in memory at `folder`, to be filled."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0711", "tmpfs", str(folder))

    def fill(self) -> None:
        """Leaves no byte free, nor of what was given back since the last time."""
        with (self._folder / "ballast").open("ab", buffering=0) as ballast:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while ballast.write(bytes(size)):
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        (self._folder / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        _run("umount", "--lazy", str(self._folder))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
