"""The embedded PostgreSQL server: really started, by root and by a normal user.

Every server is started by a supervising process of its own (forked, as the user in question), because that is
what a person kills. Queries and looks at files come from the test's process.
"""

import multiprocessing
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import dj_database_url
import psutil
import psycopg2
import pytest

from datarun.embedded import postgres
from datarun.embedded.folder import prepare
from datarun.embedded.postgres import EmbeddedPostgres, PostgresError

IS_ROOT = os.geteuid() == 0
NOBODY = pwd.getpwnam("nobody").pw_uid
BECOME = multiprocessing.get_context("fork")
PATIENCE = 20.0  # seconds to wait for what must happen


def fast_folder() -> str:
    """Memory if there is plenty that programs may be started from: on some disks a cluster takes a second."""
    memory = Path("/dev/shm")
    if memory.is_dir() and not os.statvfs(memory).f_flag & os.ST_NOEXEC:
        return str(memory) if shutil.disk_usage(memory).free > 2 * 2**30 else "/tmp"
    return "/tmp"


@contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder outside of every home that any user may enter (pytest's are closed to others)."""
    with tempfile.TemporaryDirectory(prefix="datarun-test-", dir=fast_folder()) as name:
        Path(name).chmod(0o755)
        yield Path(name).resolve()


class Platform:
    """A platform on a folder, as a context manager: its supervising process, who holds the folder's lock."""

    def __init__(self, folder: Path, uid: int | None = None) -> None:
        self.folder = folder
        self.uid = uid
        self.url = ""
        self.seconds = 0.0
        self._connection, theirs = BECOME.Pipe()
        self.process = BECOME.Process(target=supervise, args=(folder, uid, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def __enter__(self) -> Self:
        self.wait_until_started()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.is_alive():
            self._connection.send("stop")
        self.process.join(PATIENCE)
        assert not self.process.is_alive()

    def wait_until_started(self) -> None:
        """Raises what the start raised."""
        assert self._connection.poll(PATIENCE)
        answer = self._connection.recv()
        if isinstance(answer, BaseException):
            self.process.join(PATIENCE)
            raise answer
        self.url, self.seconds = answer

    def kill(self) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join(PATIENCE)

    @property
    def sockets(self) -> Path:
        return Path(parse_qs(urlsplit(self.url).query)["host"][0])

    @property
    def server(self) -> psutil.Process:
        [(pid,)] = self.query("SELECT pg_backend_pid()", lambda pid: psutil.Process(pid).ppid())
        return psutil.Process(pid)

    def query(self, sql: str, change: Callable[[Any], Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows; `change` is applied to each value while the connection is open."""
        connection = psycopg2.connect(self.url)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(sql)
                rows = cursor.fetchall() if cursor.description else []
                return [tuple(change(value) if change else value for value in row) for row in rows]
        finally:
            connection.close()


def supervise(folder: Path, uid: int | None, connection: "Connection[Any, Any]") -> None:
    """What the supervising process does: start, say so, stop when told to."""
    if uid is not None:
        os.setgroups([])
        os.setgid(pwd.getpwuid(uid).pw_gid)
        os.setuid(uid)
    try:
        with prepare(folder):
            begin = time.monotonic()
            with EmbeddedPostgres(folder) as server:
                psycopg2.connect(server.url).close()
                assert server.alive
                connection.send((server.url, time.monotonic() - begin))
                connection.recv()
            assert not server.alive
    except BaseException as error:
        connection.send(error)
        raise


@pytest.fixture(scope="session")
def readable_package() -> Iterator[Path]:
    """A site-packages with the wheel that every user can read, wherever the tests' own environment lies."""
    installed = postgres._package()
    with open_folder() as packages:
        shutil.copytree(installed, packages / installed.name, ignore=shutil.ignore_patterns("pginstall"))
        libraries = installed.with_name(f"{installed.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, packages / libraries.name)
        yield packages


@pytest.fixture
def place() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture(params=["root", "normal user"])
def uid(
    request: pytest.FixtureRequest, place: Path, readable_package: Path, monkeypatch: pytest.MonkeyPatch
) -> int | None:
    """Who runs the platform, in a folder in `place`; None: whoever runs the tests."""
    if request.param == "root":
        if not IS_ROOT:
            pytest.skip("needs root: starts the server as root")
        return None
    if not IS_ROOT:
        return None
    os.chown(place, NOBODY, -1)
    monkeypatch.syspath_prepend(readable_package)
    return NOBODY


@pytest.fixture(scope="session")
def first_starts() -> Iterator[dict[int | None, Path]]:
    """For each user a folder after a first start, to be copied: making a cluster takes a second."""
    with open_folder() as folder:
        yield {None: folder / "own", NOBODY: folder / "nobody"}


@pytest.fixture
def state(place: Path, uid: int | None, first_starts: dict[int | None, Path]) -> Path:
    """A folder in which a platform ran before, with a table `fold` of one row, 1."""
    original = first_starts[uid]
    if not original.exists():
        with Platform(place / "state", uid) as platform:
            platform.query("CREATE TABLE fold AS SELECT 1 AS id")
        (place / "state").rename(original)
    subprocess.run(["cp", "-a", original, place / "state"], check=True)
    return place / "state"


def refusal(folder: Path, uid: int | None) -> str:
    """The one sentence with which a start on this folder is refused."""
    with pytest.raises(PostgresError) as caught, Platform(folder, uid):
        pass
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def servers(folder: Path) -> list[psutil.Process]:
    """The processes that work in this folder or below."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # a process that ended, or another user's
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
    return found


def has_ended(process: psutil.Process) -> bool:
    """Dead is enough: who collects an orphan, and when, is the machine's business."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def wait_for(event: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not event():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def test_it_starts_keeps_its_data_and_starts_again_fast(place: Path, uid: int | None) -> None:
    with Platform(place / "state", uid) as platform:
        assert platform.query("SELECT current_database(), current_user") == [("datarun", "postgres")]
        platform.query("CREATE TABLE fold AS SELECT 'Ærø' AS name")
        server = platform.server
    assert has_ended(server)
    with Platform(place / "state", uid) as platform:
        assert platform.query("SELECT name, lower(name) FROM fold") == [("Ærø", "ærø")]
        assert platform.seconds < 1.0


def test_the_database_is_made_again_when_it_was_dropped(state: Path, uid: int | None) -> None:
    with Platform(state, uid) as platform:
        connection = psycopg2.connect(platform.url, dbname="postgres")
        connection.autocommit = True
        connection.cursor().execute("DROP DATABASE datarun")
        connection.close()
    with Platform(state, uid) as platform:
        assert platform.query("SELECT current_database()") == [("datarun",)]


@pytest.mark.parametrize("name", ["state of 100 % Ærø & 'more'", "a,b", "long" * 40])
def test_django_and_psycopg2_understand_the_url(
    state: Path, uid: int | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")  # what a person's shell may say about another server
    monkeypatch.setenv("PGDATABASE", "other")
    with Platform(state.rename(state.with_name(name)), uid) as platform:
        assert platform.query("SELECT current_database()") == [("datarun",)]
        config = dj_database_url.parse(platform.url)
        assert (config["ENGINE"], config["NAME"]) == ("django.db.backends.postgresql", "datarun")
        connection = psycopg2.connect(
            dbname=config["NAME"],
            user=config["USER"],
            password=config["PASSWORD"],
            port=config["PORT"],
            **config["OPTIONS"],
        )
        assert connection.info.host == str(platform.sockets)
        connection.close()


def test_it_lets_nobody_in_without_the_password(state: Path, uid: int | None) -> None:
    with Platform(state, uid) as platform:
        password = urlsplit(platform.url).password
        assert password is not None
        assert len(password) > 30
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(platform.url, password="wrong")
        with pytest.raises(psycopg2.OperationalError, match="no password supplied"):
            psycopg2.connect(platform.url.replace(f":{password}@", "@"), passfile="/nonexistent")
        rules = platform.query("SELECT DISTINCT auth_method FROM pg_hba_file_rules")
        assert rules == [("scram-sha-256",)]
        assert platform.query("SHOW listen_addresses") == [("",)]
        assert platform.query("SHOW fsync") == [("on",)]
        listening = [c for c in platform.server.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert listening == []


def test_its_files_are_private(place: Path, uid: int | None) -> None:
    state = place / "state"
    owner = os.geteuid() if uid is None else uid
    with Platform(state, uid) as platform:
        server_user = pwd.getpwnam("pgserver").pw_uid if owner == 0 else owner
        assert mode(state) == (0o711 if owner == 0 else 0o700)
        for name in ("postgres", "postgres.socket"):
            assert mode(state / name) == 0o700
            assert (state / name).stat().st_uid == server_user
        for name in ("postgres.password", "postgres.log", "lock", "datarun.json"):
            assert mode(state / name) == 0o600
            assert (state / name).stat().st_uid == owner
        assert platform.server.uids().real == platform.server.uids().effective == server_user
        assert set(os.listdir(state)) == {
            "datarun.json", "lock", "postgres", "postgres.log", "postgres.password", "postgres.socket"
        }  # fmt: skip
    assert not (state / "postgres.socket").exists()


def test_it_takes_nothing_of_the_platform_with_it(
    state: Path, uid: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No session (a terminal's Ctrl-C goes there), no secrets of the environment, no groups of root."""
    monkeypatch.setenv("USER_PSWD", "secret")
    with Platform(state, uid) as platform:
        assert os.getsid(platform.server.pid) == platform.server.pid
        assert "USER_PSWD" not in platform.server.environ()
        assert platform.server.terminal() is None
        status = Path(f"/proc/{platform.server.pid}/status")
        if IS_ROOT and status.exists():
            [groups] = [line for line in status.read_text().splitlines() if line.startswith("Groups:")]
            assert groups.split() == ["Groups:"]


class TestAfterAKill:
    def test_the_server_that_was_left_behind_is_replaced(self, state: Path, uid: int | None) -> None:
        with Platform(state, uid) as platform:
            left_behind = platform.server
            idle = psycopg2.connect(platform.url)  # as the platform's other processes hold them
            platform.kill()
            assert not has_ended(left_behind)
        with Platform(state, uid) as platform:
            assert has_ended(left_behind)
            assert platform.server != left_behind
            assert platform.query("SELECT id FROM fold") == [(1,)]
        idle.close()

    def test_also_when_its_folder_was_moved(self, state: Path, uid: int | None) -> None:
        with Platform(state, uid) as platform:
            left_behind = platform.server
            platform.kill()
        with Platform(state.rename(state.with_name("moved")), uid) as platform:
            assert has_ended(left_behind)
            assert platform.query("SELECT id FROM fold") == [(1,)]

    def test_a_server_that_was_killed_too_recovers(self, state: Path, uid: int | None) -> None:
        with Platform(state, uid) as platform:
            server = platform.server
            platform.kill()
            server.kill()
            wait_for(lambda: has_ended(server))
        with Platform(state, uid) as platform:
            assert platform.query("SELECT id FROM fold") == [(1,)]

    def test_no_other_process_is_taken_for_the_server(self, state: Path, uid: int | None) -> None:
        """After a restart of the machine the number in the pid file belongs to anybody, here to a `sleep`."""
        pid_file = state / "postgres" / "postmaster.pid"
        with Platform(state, uid) as platform:
            lines = pid_file.read_text().splitlines(keepends=True)
        owner = pid_file.parent.stat().st_uid
        with subprocess.Popen(["sleep", "600"], user=owner if IS_ROOT else None) as innocent:
            pid_file.write_text("".join([f"{innocent.pid}\n", *lines[1:]]))
            try:
                with Platform(state, uid) as platform:
                    assert platform.query("SELECT 1") == [(1,)]
                    assert innocent.poll() is None
            finally:
                innocent.kill()

    @pytest.mark.parametrize("content", ["", "nonsense\n"])
    def test_a_damaged_pid_file_does_no_harm(self, state: Path, uid: int | None, content: str) -> None:
        (state / "postgres" / "postmaster.pid").write_text(content)
        with Platform(state, uid) as platform:
            assert platform.query("SELECT 1") == [(1,)]

    def test_a_first_start_cut_short_is_done_again(self, place: Path, uid: int | None) -> None:
        state = place / "state"
        platform = Platform(state, uid)
        try:
            wait_for(lambda: list(state.glob("postgres.new-*/postgres/PG_VERSION")))
        finally:
            platform.kill()
        assert not (state / "postgres").exists()
        with Platform(state, uid) as platform:
            assert platform.query("SELECT 1") == [(1,)]
        with Platform(state, uid):
            assert list(state.glob("postgres.new-*")) == []


class TestPassword:
    def test_it_stays_the_same(self, state: Path, uid: int | None) -> None:
        with Platform(state, uid) as platform:
            url = platform.url
        with Platform(state, uid) as platform:
            assert urlsplit(platform.url).password == urlsplit(url).password

    def test_a_lost_one_is_replaced(self, state: Path, uid: int | None) -> None:
        """The state too in which a start is left that was cut short before it wrote the file."""
        lost = (state / "postgres.password").read_text()
        (state / "postgres.password").unlink()
        with Platform(state, uid) as platform:
            assert platform.query("SELECT id FROM fold") == [(1,)]
            with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
                psycopg2.connect(platform.url, password=lost)

    def test_one_that_no_cluster_has_yet_is_used(self, state: Path, uid: int | None) -> None:
        """The state in which a start is left that was cut short before it made the cluster."""
        shutil.rmtree(state / "postgres")
        with Platform(state, uid) as platform:
            assert urlsplit(platform.url).password == (state / "postgres.password").read_text()

    def test_a_wrong_one_is_named(self, state: Path, uid: int | None) -> None:
        (state / "postgres.password").write_text("wrong")
        assert f"{state}/postgres.password was changed, restore it" in refusal(state, uid)
        assert servers(state) == []


class TestBrokenData:
    """A folder that an earlier version, or a disaster, left: one sentence, and the data stays as it is."""

    @pytest.fixture
    def data(self, state: Path) -> Path:
        return state / "postgres"

    def test_of_another_version(self, data: Path, uid: int | None) -> None:
        (data / "PG_VERSION").write_text("17\n")
        assert f"{data} holds data of PostgreSQL 17" in refusal(data.parent, uid)

    def test_no_version(self, data: Path, uid: int | None) -> None:
        (data / "PG_VERSION").unlink()
        assert f"{data} is not a PostgreSQL data folder" in refusal(data.parent, uid)
        assert (data / "base").exists()

    @pytest.mark.parametrize("content", [b"", b"\x00" * 8192])
    def test_control_file(self, data: Path, uid: int | None, content: bytes) -> None:
        (data / "global" / "pg_control").write_bytes(content)
        message = refusal(data.parent, uid)
        assert message.startswith(f"PostgreSQL could not start on {data} (")
        assert "restore that folder from a backup, or move it away" in message
        log = data.parent / "postgres.log"
        assert f"its log is {log}" in message
        reason = message.partition("(")[2].partition("; its log")[0]
        assert reason in log.read_text()
        assert servers(data) == []

    def test_control_file_with_the_password_lost(self, data: Path, uid: int | None) -> None:
        (data / "global" / "pg_control").write_bytes(b"")
        (data.parent / "postgres.password").unlink()
        assert f"PostgreSQL could not start on {data} (" in refusal(data.parent, uid)
        assert not (data.parent / "postgres.password").exists()


class TestLongPath:
    """Where the path is too long for a unix socket it lies in a temporary folder."""

    @pytest.fixture
    def long(self, state: Path) -> Path:
        return state.rename(state.with_name("long" * 40))

    def test_that_folder_is_private_and_removed(self, long: Path, uid: int | None) -> None:
        with Platform(long, uid) as platform:
            sockets = platform.sockets
            assert not sockets.is_relative_to(long)
            assert mode(sockets) == 0o700
            assert sockets.stat().st_uid == platform.server.uids().real
        assert not sockets.exists()

    def test_after_a_kill_the_next_start_removes_it(self, long: Path, uid: int | None) -> None:
        with Platform(long, uid) as platform:
            left_behind = platform.sockets
            platform.kill()
        with Platform(long, uid) as platform:
            assert platform.sockets != left_behind
            assert not left_behind.exists()


@pytest.mark.skipif(not IS_ROOT, reason="needs root: only root's server runs as another user")
class TestClosedHome:
    """Root's checkout, with the wheel in its .venv, in a home that is nobody else's business."""

    @pytest.fixture
    def home(self, place: Path, readable_package: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        home = place / "home"
        home.mkdir()
        packages = home / "datarun" / ".venv" / "site-packages"
        shutil.copytree(readable_package, packages)
        home.chmod(0o700)
        monkeypatch.syspath_prepend(packages)
        return home

    def test_it_stays_closed(self, place: Path, home: Path) -> None:
        def permissions() -> dict[Path, int]:
            paths = [Path("/root"), home, *home.rglob("*")]
            return {path: path.lstat().st_mode for path in paths}

        before = permissions()
        for _ in range(2):
            with Platform(place / "state") as platform:
                assert Path(platform.server.exe()).is_relative_to(place / "state")
        assert permissions() == before

    def test_the_server_can_not_change_its_own_binaries(self, place: Path, home: Path) -> None:
        with Platform(place / "state"):
            [copy] = (place / "state").glob("postgres.bin-*")
            for path in (copy, *copy.rglob("*")):
                assert path.lstat().st_uid == 0
                assert path.is_symlink() or not mode(path) & 0o022

    def test_binaries_of_an_earlier_wheel_are_removed(self, place: Path, home: Path) -> None:
        with Platform(place / "state"):
            pass
        [copy] = (place / "state").glob("postgres.bin-*")
        copy.rename(copy.with_name("postgres.bin-0.1"))
        with Platform(place / "state"):
            assert list((place / "state").glob("postgres.bin-*")) == [copy]

    def test_state_in_a_closed_folder_is_refused(self, place: Path, home: Path) -> None:
        assert "Permission denied" in refusal(home / "state", None)
        assert mode(home) == 0o700
