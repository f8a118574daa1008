"""A PostgreSQL server of Debian's package on a cluster of its own, on 127.0.0.1 and a socket in its folder.

PostgreSQL refuses to run as root; root runs it as the package's user `postgres`, who then owns the folder.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
from psycopg2.sql import SQL, Identifier

from tests.services import debian
from tests.services.server import Server, ServerError, free_port

ROLE = "datarun"
ROOTS_SERVER_USER = "postgres"


class Postgres(Server):
    """A server on its folder.

    Without `fsync` it is fast, and keeps what was committed over `kill` all the same: only a crash of the
    operating system would lose it.
    """

    packages = ("postgresql",)
    stop_signal = signal.SIGINT  # ends sessions and open transactions instead of awaiting them

    def __init__(self, folder: Path, fsync: bool = False) -> None:
        super().__init__(folder)
        self.fsync = fsync
        self.user = ROOTS_SERVER_USER if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        """The URL of the database `postgres`, for a role that may do anything."""
        access = self.remembered("access")
        return f"postgresql://{ROLE}:{access['password']}@127.0.0.1:{access['port']}/postgres"

    def database(self, name: str) -> str:
        """Makes an empty database and returns its URL. Raises psycopg2.Error if the name is taken."""
        with closing(psycopg2.connect(self.url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute(SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier(name)))
        return f"{self.url.removesuffix('postgres')}{name}"

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.remembered("access")["port"],
            "unix_socket_directories": str(self.folder / "socket"),
            "fsync": "on" if self.fsync else "off",
            "full_page_writes": "on" if self.fsync else "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(_program("postgres")), "-D", str(self.folder / "data"), *options]

    def prepare(self) -> None:
        _program("postgres")
        super().prepare()
        if self.user is not None:
            _check_way(self.folder, self.user)
            shutil.chown(self.folder, self.user)
        access = self.remembered("access", {"port": free_port(), "password": secrets.token_urlsafe(16)})
        if not (self.folder / "data").exists():
            self._make_cluster(access["password"])

    def _make_cluster(self, password: str) -> None:
        (self.folder / "socket").mkdir(mode=0o700, exist_ok=True)
        password_file = self.folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        if self.user is not None:
            shutil.chown(self.folder / "socket", self.user)
            shutil.chown(password_file, self.user)
        done = subprocess.run(
            [
                _program("initdb"), "--no-sync", "--pgdata", self.folder / "data", "--username", ROLE,
                "--pwfile", password_file, "--auth", "scram-sha-256",
                "--encoding", "UTF8", "--locale", "C.UTF-8",
            ],
            env=self.environment(), cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            user=self.user, group=self.user, extra_groups=None if self.user is None else [],
        )  # fmt: skip
        password_file.unlink()
        if done.returncode:
            raise ServerError(f"initdb failed in {self.folder}: {done.stderr.strip()}")


def _program(name: str) -> Path:
    """The program of the newest version that is installed."""
    found = {int(path.parts[-3]): path for path in _programs(name)}
    if not found:
        raise ServerError(f"PostgreSQL is not installed: {debian.instruction(*Postgres.packages)}")
    return found[max(found)]


def _programs(name: str) -> Iterator[Path]:
    return Path("/usr/lib/postgresql").glob(f"[0-9]*/bin/{name}")


def _check_way(folder: Path, user: str) -> None:
    """Raises ServerError if `user` can't enter a folder on the way to `folder`."""
    entry = pwd.getpwnam(user)
    for parent in folder.resolve().parents:
        status = parent.stat()
        bit = 0o100 if status.st_uid == entry.pw_uid else 0o010 if status.st_gid == entry.pw_gid else 0o001
        if not status.st_mode & bit:
            raise ServerError(f"User {user} can't enter {parent}: use a folder from server_folder().")
