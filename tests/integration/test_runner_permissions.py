"""What a runner's own user of RabbitMQ may do: take orders, be told what to stop, and report. Nothing else."""

import json
from collections.abc import Callable, Iterator
from urllib.parse import quote, urlsplit

import pytest
from amqp.exceptions import AccessRefused, NotFound
from kombu import Connection, Message, Queue

from datarun.broker import connection as broker
from datarun.contract import queues
from tests.services.rabbitmq import RabbitMQ

RUNNER, OTHER = "celery@one.example.org", "celery@two-example.org"
PATIENCE = 30.0
PASSWORD = "p@ss/w:o r%d\"'#é"


@pytest.fixture
def master(broker_url: str) -> Iterator[Connection]:
    with broker.connect(broker_url) as connection:
        broker.declare_all(connection)
        broker.queue(queues.control(OTHER))(connection.default_channel).declare()
        broker.declare(connection, "H@old")
        yield connection


@pytest.fixture
def runner(rabbitmq: RabbitMQ, broker_url: str, master: Connection) -> Iterator[Connection]:
    vhost = urlsplit(broker_url).path[1:]
    may = queues.permissions(RUNNER, ["L", "celery"])._asdict()
    user = {"name": RUNNER, "password": PASSWORD, "tags": ""}
    definitions = {"users": [user], "permissions": [{"user": RUNNER, "vhost": vhost, **may}]}
    rabbitmq.ctl("import_definitions", text=json.dumps(definitions))
    who = f"{quote(RUNNER, safe='')}:{quote(PASSWORD, safe='')}"
    with broker.connect(broker_url.replace("guest:guest", who)) as connection:
        yield connection


def waiting(connection: Connection, queue: str) -> bytes:
    inbox: list[Message] = []
    with broker.consumer(connection.default_channel, [queue], inbox.append, prefetch=1):
        connection.drain_events(timeout=PATIENCE)
    inbox[0].ack()
    return broker.body_of(inbox[0])


@pytest.mark.parametrize("queue", queues.REPORTED)
def test_a_runner_reports(master: Connection, runner: Connection, queue: str) -> None:
    broker.report(runner, queue, b"report")
    assert waiting(master, queue) == b"report"


@pytest.mark.parametrize("queue", ["L", "celery", "L@old", "celery@3.10-cuda"])
def test_a_runner_takes_orders_from_the_queues_that_it_serves(
    master: Connection, runner: Connection, queue: str
) -> None:
    broker.declare(master, queue)
    assert broker.exists(runner, queue)
    broker.publish(master, queue, b"order")
    assert waiting(runner, queue) == b"order"


def test_a_runner_makes_and_reads_its_control_queue(master: Connection, runner: Connection) -> None:
    name = queues.control(RUNNER)
    broker.queue(name)(runner.default_channel).declare()
    broker.publish(master, name, b"stop")
    assert waiting(runner, name) == b"stop"


FORBIDDEN: dict[str, Callable[[Connection], object]] = {
    "make up orders": lambda runner: broker.publish(runner, "L", b"order"),
    "report past the exchange": lambda runner: broker.publish(runner, queues.RESULTS, b"report"),
    "stop what others run": lambda runner: broker.publish(runner, queues.control(OTHER), b"stop"),
    "read what others are told": lambda runner: broker.get(runner.default_channel, queues.control(OTHER)),
    "read a queue that it does not serve": lambda runner: broker.get(runner.default_channel, "H"),
    "read the same of an environment": lambda runner: broker.get(runner.default_channel, "H@old"),
    "read what others report": lambda runner: broker.get(runner.default_channel, queues.RESULTS),
    "declare the queues": broker.declare_all,
    "make queues": lambda runner: Queue("new")(runner.default_channel).declare(),
    "delete a queue": lambda runner: broker.queue("L")(runner.default_channel).delete(),
    "divert reports": lambda runner: broker.queue(queues.control(RUNNER))(runner.default_channel).bind_to(
        queues.REPORTS, routing_key=queues.RESULTS
    ),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_a_runner_may_not(runner: Connection, what: str) -> None:
    broker.queue(queues.control(RUNNER))(runner.default_channel).declare()
    with pytest.raises(AccessRefused):
        FORBIDDEN[what](runner)


def test_a_report_to_no_queue_of_reports_is_refused(runner: Connection) -> None:
    with pytest.raises(broker.BrokerError, match="NO_ROUTE"):
        broker.report(runner, "L", b"order")


def test_a_runner_that_came_before_the_master_is_told_so(broker_url: str) -> None:
    with broker.connect(broker_url) as connection, pytest.raises(NotFound):
        broker.report(connection, queues.RESULTS, b"report")
