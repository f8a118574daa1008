"""What the servers have in common: start and await readiness, stop or kill with all descendants, start again.

A server says that it is ready by systemd's notification protocol (`READY=1` on a datagram socket), which
RabbitMQ and PostgreSQL both speak. It runs in a session of its own, so a Ctrl-C in the terminal reaches the
tests and not their servers. May only signal processes that it started itself, by pid.
"""

import json
import os
import random
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import psutil

READY_TIMEOUT = 120.0  # seconds: a loaded machine is slow, a server that fails ends at once
STOP_TIMEOUT = 60.0  # seconds to stop in order, then it is killed
LOG_LINES = 20  # of a server that did not start, shown in the error


class ServerError(Exception):
    """A server is missing, did not start or refused a command; the message names it and says why."""


@contextmanager
def server_folder() -> Iterator[Path]:
    """A temporary folder that servers running as other users can enter; removed in the end."""
    with tempfile.TemporaryDirectory(prefix="datarun-services-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


class Server:
    """One server on its folder: a context manager, or `start` and `stop`.

    `folder` is made if missing. Ports and passwords are kept in it, so clients find the server again after
    `kill` and `start`, and an object on the same folder that did not start the server still knows its `url`.
    """

    #: Debian's packages, the way ``apt-get satisfy`` writes a requirement.
    packages: ClassVar[tuple[str, ...]]
    #: What asks the server to stop in order.
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    #: Who runs the server; None for who runs the tests.
    user: str | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "output.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # What a kind of server says of itself.

    @property
    def url(self) -> str:
        """Where clients connect. Raises ServerError if the server was never started."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """The program, which stays in the foreground, and its arguments."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """All environment variables of the server: it inherits none."""
        return {"PATH": os.defpath, "LANG": "C.UTF-8"}

    def prepare(self) -> None:
        """Makes what the first start needs, and finds again what it made."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    # The life of the server.

    @property
    def pids(self) -> list[int]:
        """The running server process and its descendants; empty once it has ended."""
        return [process.pid for process in _tree(self._process)]

    def start(self) -> None:
        """Returns when the server takes connections, or raises ServerError with the end of its output."""
        if self._process is not None and self._process.poll() is None:
            raise ServerError(f"{self} runs already.")
        self.prepare()
        with _notifications() as (address, notifications), self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(),
                env=self.environment() | {"NOTIFY_SOCKET": address},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
            )
            try:
                self._await_ready(self._process, notifications)
            except BaseException:
                self.kill()
                raise

    def stop(self) -> None:
        """Stops in order and returns when no process of the server is left. Nothing to do if it has ended."""
        if self._process is not None:
            _end(self._process, self.stop_signal)
            self._process = None

    def kill(self) -> None:
        """Ends the server and its descendants at once (SIGKILL); `start` brings it back."""
        if self._process is not None:
            _end(self._process, signal.SIGKILL)
            self._process = None

    def restart(self) -> None:
        """Stops in order and starts again, on the same port."""
        self.stop()
        self.start()

    def _await_ready(self, process: "subprocess.Popen[bytes]", notifications: socket.socket) -> None:
        deadline = time.monotonic() + READY_TIMEOUT
        while time.monotonic() < deadline:
            with suppress(TimeoutError):
                if b"READY=1" in notifications.recv(4096).splitlines():
                    return
            if process.poll() is not None:
                raise self._failure(f"ended while starting, with code {process.returncode}")
        raise self._failure(f"was not ready after {READY_TIMEOUT:.0f} s")

    def _failure(self, what: str) -> ServerError:
        end = "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])
        return ServerError(f"{self} {what}; its output ends:\n{end}")

    # What it remembers in its folder.

    def remembered(self, name: str, values: dict[str, str] | None = None) -> dict[str, str]:
        """The values kept under `name`, after keeping `values` if there were none yet.

        Raises ServerError if there are none and none are given: no server was ever started on the folder.
        """
        path = self.folder / f"{name}.json"
        if not path.exists():
            if values is None:
                raise ServerError(f"{self} was never started.")
            path.touch(mode=0o600)
            path.write_text(json.dumps(values))
        kept: dict[str, str] = json.loads(path.read_text())
        return kept

    def __str__(self) -> str:
        return f"{type(self).__name__} in {self.folder}"


def free_port() -> str:
    """A port of 127.0.0.1 that nobody listens on.

    It lies below the range of outgoing connections' ports, so none takes it while its server is down.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(max(1024, lowest - 12000), lowest), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return str(port)
    raise ServerError(f"No free port below {lowest}: stop some of the servers on this machine.")


@contextmanager
def _notifications() -> Iterator[tuple[str, socket.socket]]:
    """A socket to be notified on and its address, abstract: another user needs no way to a file."""
    name = f"datarun-tests-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
        notifications.bind(f"\0{name}")
        notifications.settimeout(0.1)  # how soon the end of a server that fails is noticed
        yield f"@{name}", notifications


def _tree(process: "subprocess.Popen[bytes] | None") -> list[psutil.Process]:
    if process is None or process.poll() is not None:
        return []
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(process.pid)
        return [top, *top.children(recursive=True)]
    return []


def _end(process: "subprocess.Popen[bytes]", how: signal.Signals) -> None:
    """Signals the process (SIGKILL: and its descendants), awaits its end, kills descendants that are left."""
    descendants = _tree(process)[1:]
    process.send_signal(how)
    if how == signal.SIGKILL:
        kill(descendants)
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    kill(await_end(descendants, timeout=1))


def kill(processes: Sequence[psutil.Process]) -> None:
    """SIGKILL for those of the processes that still run; returns when they have ended."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    await_end(processes, STOP_TIMEOUT)


def await_end(processes: Sequence[psutil.Process], timeout: float) -> list[psutil.Process]:
    """Those of the processes that still run after `timeout` seconds; a zombie has ended."""
    deadline = time.monotonic() + timeout
    while running := [process for process in processes if is_running(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)  # nobody is told of the end of a process that is no child
    return running


def is_running(process: psutil.Process) -> bool:
    """Whether the process has not ended, be it reaped or not."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
