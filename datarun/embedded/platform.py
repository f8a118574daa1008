"""The embedded platform: its settings, its first user, its start and its end."""

import contextlib
import os
import secrets
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from datarun.env import in_url

from . import folder as state_folder
from .postgres import EmbeddedPostgres
from .processes import Processes, read_procfile

CHECKOUT = Path(__file__).resolve().parents[2]
_READY = 60.0  # seconds that the web process gets to answer


class PlatformError(Exception):
    """The platform can't run; the message is one sentence that says why and how to mend it."""


#: Where this machine reaches what listens on every address.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not to listen on


@dataclass(frozen=True, slots=True)
class Address:
    """Where the web process listens: a name or an IP address, of either version."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Where this machine reaches it, also when it listens on every address."""
        return f"http://{in_url(_LOOPBACK.get(self.host, self.host))}:{self.port}/"

    @property
    def allowed_hosts(self) -> str:
        return "localhost,127.0.0.1,[::1]" if self.host in ("localhost", "127.0.0.1", "::1") else "*"

    def check_free(self) -> None:
        """Raises PlatformError when somebody listens there already."""
        try:
            family, *_, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            raise PlatformError(
                f"Port {self.port} can't be used ({error.strerror}): choose another with --port."
            ) from error


@contextlib.contextmanager
def running(address: Address) -> Iterator[Processes]:
    """Starts everything; yields the processes once the web answers; stops everything at the end.

    Raises PlatformError, `FolderError` or `PostgresError`, each with one sentence for the terminal.
    """
    address.check_free()
    home = state_folder.choose(CHECKOUT, os.environ)
    with state_folder.prepare(home), EmbeddedPostgres(home) as postgres:
        environment = _environment(home, postgres.url, address)
        os.environ.update(environment)
        environment["DR_RUNNER_TOKEN"] = _prepare_database()
        processes = Processes(read_procfile(CHECKOUT / "Procfile"), environment, CHECKOUT)
        try:
            processes.start()
            _wait_for_web(address, processes)
            yield processes
        finally:
            processes.stop()


def _environment(home: Path, database_url: str, address: Address) -> dict[str, str]:
    private = {name: state_folder.private(home, name) for name in ("broker", "data", "submissions")}
    ours = {
        "DATABASE_URL": database_url,
        "BROKER_URL": f"filesystem://{quote(str(private['broker']))}",
        "DIR_DATA": str(private["data"]),
        "DIR_SUBMISSION": str(private["submissions"]),
        "SECRET_KEY": _secret(home / "secret_key"),
        "MASTER_URL": address.url,
        "ALLOWED_HOSTS": os.environ.get("ALLOWED_HOSTS", address.allowed_hosts),
        "HOST": in_url(address.host),
        "PORT": str(address.port),
        "DR_WORKING_ENV": "DEV",
        "DEBUG": "0",
        "DR_GRACE": "3",
        "DJANGO_SETTINGS_MODULE": "datarun.settings",
        "PYTHONUNBUFFERED": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }
    return dict(os.environ) | ours


def _secret(path: Path) -> str:
    """What the file holds; made when it is missing, readable by its owner only."""
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(50))
    return path.read_text()


def _prepare_database() -> str:
    """Brings the tables up to date, creates the first admin; returns a token for the runner."""
    import django
    from django.core.management import call_command
    from django.db import connection

    django.setup()
    call_command("migrate", verbosity=0)
    from runapp.services import runners, users

    first = users.create_first_admin()
    if first is not None:
        say(f"First admin user: {first.name}   password: {first.password} (shown this once)")
    token = runners.new_token("embedded")
    connection.close()
    return token


def _wait_for_web(address: Address, processes: Processes) -> None:
    until = time.monotonic() + _READY
    while time.monotonic() < until:
        if problem := processes.ended():
            raise PlatformError(problem)
        try:
            with urllib.request.urlopen(f"{address.url}readyz", timeout=1):  # noqa: S310 - our own address
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise PlatformError(f"The web process did not answer at {address.url} within {_READY:g} s.")


def say(text: str) -> None:
    """A line of the platform's own on the terminal."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
