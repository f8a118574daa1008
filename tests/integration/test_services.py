"""The servers that other tests rely on: they really speak, outlive a crash, and leave nothing running."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import kombu
import psutil
import psycopg2
import pytest

from tests.services import Postgres, RabbitMQ, ServerError, debian, server_folder
from tests.services.server import await_end, is_running

QUEUE = kombu.Queue("work", durable=True, queue_arguments={"x-queue-type": "quorum"})
PATIENCE = 30.0  # seconds to wait for what must happen


@pytest.fixture(scope="module")
def rabbit() -> Iterator[RabbitMQ]:
    """A broker that these tests may kill."""
    with server_folder() as folder, RabbitMQ(folder / "rabbitmq", "consumer_timeout = 5000\n") as rabbit:
        yield rabbit


@pytest.fixture(scope="module")
def database_server() -> Iterator[Postgres]:
    """A PostgreSQL server that these tests may kill."""
    with server_folder() as folder, Postgres(folder / "postgres") as server:
        yield server


def connect(url: str) -> kombu.Connection:
    return kombu.Connection(url, connect_timeout=PATIENCE, transport_options={"confirm_publish": True})


def publish(url: str, text: str) -> None:
    """Returns when the broker has confirmed the message."""
    with connect(url) as connection, connection.Producer() as producer:
        producer.publish(text, exchange="", routing_key=QUEUE.name, declare=[QUEUE], timeout=PATIENCE)


def consume(url: str) -> str:
    """Takes one message and acknowledges it."""
    received: list[str] = []

    def take(body: str, message: kombu.Message) -> None:
        received.append(body)
        message.ack()

    with connect(url) as connection, connection.Consumer([QUEUE], callbacks=[take], prefetch_count=1):
        while not received:
            connection.drain_events(timeout=PATIENCE)
    return received[0]


def query(url: str, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a statement that is committed."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def processes(pids: list[int]) -> list[psutil.Process]:
    assert pids
    return [psutil.Process(pid) for pid in pids]


def test_a_quorum_queue_delivers_what_was_confirmed(rabbit: RabbitMQ) -> None:
    url = rabbit.vhost("delivers")
    publish(url, "a fold")

    assert rabbit.ctl("list_queues", "--vhost", "delivers", "--no-table-headers", "name", "type").split() == [
        "work",
        "quorum",
    ]
    assert consume(url) == "a fold"


def test_virtual_hosts_share_nothing(rabbit: RabbitMQ) -> None:
    one, other = rabbit.vhost("one/first"), rabbit.vhost("other")
    publish(one, "of one")
    publish(other, "of the other")

    assert (consume(one), consume(other)) == ("of one", "of the other")


def test_the_broker_keeps_confirmed_messages_over_a_kill(rabbit: RabbitMQ) -> None:
    url = rabbit.vhost("survives")
    publish(url, "kept")
    rabbit.sync()

    rabbit.kill()
    with pytest.raises(OSError):
        connect(url).connect()
    rabbit.start()

    assert consume(url) == "kept"


def test_the_broker_takes_configuration(rabbit: RabbitMQ) -> None:
    assert "5000" in rabbit.ctl("eval", "application:get_env(rabbit, consumer_timeout).")


def test_a_refused_command_says_why(rabbit: RabbitMQ) -> None:
    with pytest.raises(ServerError, match=r"rabbitmqctl delete_vhost nowhere: .*nowhere"):
        rabbit.ctl("delete_vhost", "nowhere")


def test_a_broker_that_fails_to_start_says_why_and_leaves_nothing(services_folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        rabbit = RabbitMQ(services_folder / "rabbitmq", f"listeners.tcp.taken = 127.0.0.1:{port}\n")
        with pytest.raises(ServerError, match=r"(?s)ended while starting.*eaddrinuse"):
            rabbit.start()

    assert rabbit.pids == []


def test_nothing_of_the_broker_runs_after_stop_and_it_starts_again(services_folder: Path) -> None:
    rabbit = RabbitMQ(services_folder / "rabbitmq")
    with rabbit:
        url = rabbit.url
        running = processes(rabbit.pids)
        assert {"beam.smp", "epmd"} <= {process.name() for process in running}
        publish(url, "kept")

    assert not [process for process in running if is_running(process)]
    assert rabbit.pids == []
    with rabbit:
        assert rabbit.url == url
        assert consume(url) == "kept"


def test_postgres_answers_only_with_the_password(database_server: Postgres) -> None:
    url = database_server.database("answers")
    assert query(url, "SELECT current_database()") == [("answers",)]

    password = url.split(":")[2].split("@")[0]
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(url.replace(password, "guessed"))


@pytest.mark.parametrize("interruption", ["restart", "kill"])
def test_postgres_keeps_what_was_committed(database_server: Postgres, interruption: str) -> None:
    url = database_server.database(interruption)
    query(url, "CREATE TABLE fold AS SELECT 'kept' AS state")

    if interruption == "restart":
        database_server.restart()
    else:
        database_server.kill()
        with pytest.raises(psycopg2.OperationalError):
            psycopg2.connect(url)
        database_server.start()

    assert query(url, "SELECT state FROM fold") == [("kept",)]


def test_nothing_of_postgres_runs_after_stop(services_folder: Path) -> None:
    with Postgres(services_folder / "postgres") as server, closing(psycopg2.connect(server.url)):
        running = processes(server.pids)  # the server does not wait for the open session
        assert all(process.uids().real != 0 for process in running)
        server.stop()

    assert not [process for process in running if is_running(process)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server has another user")
def test_postgres_says_which_folder_its_user_cannot_enter(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(ServerError, match=f"User postgres can't enter .*{tmp_path.name}"):
        Postgres(tmp_path / "postgres").start()


def test_the_runs_servers_have_a_fresh_corner_for_each_test(
    broker_url: str, database_url: str, request: pytest.FixtureRequest
) -> None:
    publish(broker_url, "mine")
    assert consume(broker_url) == "mine"
    assert query(database_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


def run_with(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
    """``python -m tests.services run`` with these arguments, from the root of the checkout."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.services", "run", *arguments],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_run_passes_on_the_commands_exit_code() -> None:
    assert run_with("--", "sh", "-c", "exit 7").wait(PATIENCE) == 7
    assert run_with("--", "sh", "-c", "kill -TERM $$").wait(PATIENCE) == 128 + signal.SIGTERM


def test_run_names_what_it_does_not_know() -> None:
    service = run_with("oracle", "--", "true")
    assert "no service oracle: choose from postgres, rabbitmq" in service.communicate(timeout=PATIENCE)[1]
    command = run_with("--", "no-such-command")
    assert "no-such-command can't be run" in command.communicate(timeout=PATIENCE)[1]
    assert service.returncode and command.returncode


def test_run_ends_what_the_command_left_behind() -> None:
    run = run_with("--", "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!")
    assert run.stdout is not None
    left = psutil.Process(int(run.stdout.readline()))

    errors = run.communicate(timeout=PATIENCE)[1]
    assert run.returncode == 0
    assert "the command left processes" in errors
    assert str(left.pid) in errors
    assert not is_running(left)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_run_passes_signals_on_and_stops_its_servers(number: signal.Signals) -> None:
    command = 'trap "exit 9" INT TERM HUP; echo $DATABASE_URL; while :; do sleep 0.05; done'
    run = run_with("postgres", "--", "sh", "-c", command, stdin=subprocess.DEVNULL)
    assert run.stdout is not None
    url = run.stdout.readline().strip()
    assert query(url, "SELECT 1") == [(1,)]
    below = psutil.Process(run.pid).children(recursive=True)

    run.send_signal(number)
    assert run.wait(PATIENCE) == 9
    assert await_end(below, timeout=PATIENCE) == []


def test_missing_packages_are_found_by_name_and_version() -> None:
    assert debian.missing("dpkg", "dpkg (>= 1.0)") == []
    assert debian.missing("dpkg (>= 999)", "no-such-package") == ["dpkg (>= 999)", "no-such-package"]


def test_who_can_install_nothing_is_told_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(debian.PackageError) as refused:
        debian.ensure("dpkg", "no-such-package (>= 2)")
    assert str(refused.value) == (
        "The tests need no-such-package (>= 2): run `sudo apt-get update && "
        "sudo apt-get satisfy --yes --no-install-recommends 'no-such-package (>= 2)'`"
    )
