"""A batch of messages is published as one: who published knows of each whether the broker has it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection, Queue

from datarun.broker import connection as broker
from datarun.contract import queues
from datarun.contract.states import JobState
from runapp.models import Job
from runapp.scheduler.dispatch import Dispatcher
from tests.integration.jobs import fold, folds, live, prepared, state_of
from tests.services import RabbitMQ, server_folder

both = pytest.mark.parametrize("kind", ["rabbitmq", "folder"])


@pytest.fixture
def connection(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    """To an empty broker of this kind, with all queues."""
    url = request.getfixturevalue("broker_url") if kind == "rabbitmq" else f"filesystem://{tmp_path}/broker"
    with broker.connect(url) as connection:
        broker.declare_all(connection)
        yield connection


def bodies(connection: Connection, name: str) -> list[bytes]:
    """What waits in the queue, in order."""
    waiting = broker.queue(name)(connection.channel())
    return [broker.body_of(message) for message in iter(lambda: waiting.get(no_ack=True), None)]


@both
def test_all_of_a_batch_arrives_in_order(connection: Connection) -> None:
    accepted: list[int] = []
    names = [queues.LIGHT, queues.HEAVY] * 100
    broker.publish_all(
        connection, [(name, b"%d" % number) for number, name in enumerate(names)], accepted.append
    )
    assert sorted(accepted) == list(range(200))
    assert bodies(connection, queues.LIGHT) == [b"%d" % number for number in range(0, 200, 2)]
    assert bodies(connection, queues.HEAVY) == [b"%d" % number for number in range(1, 200, 2)]


@both
def test_one_batch_follows_another(connection: Connection) -> None:
    for number in range(3):
        accepted: list[int] = []
        broker.publish_all(connection, [(queues.LIGHT, b"%d" % number)] * 2, accepted.append)
        assert accepted == [0, 1]
        broker.publish(connection, queues.LIGHT, b"alone")
    assert len(bodies(connection, queues.LIGHT)) == 9


@both
def test_an_empty_batch_is_published(connection: Connection) -> None:
    broker.publish_all(connection, [])


@pytest.mark.parametrize("kind", ["rabbitmq"])
def test_what_has_no_queue_is_refused_and_the_rest_accepted(connection: Connection) -> None:
    accepted: list[int] = []
    messages = [(queues.LIGHT, b"one"), ("nowhere", b"two"), (queues.LIGHT, b"three")]
    with pytest.raises(broker.BrokerError, match=r"refused 1 messages: nowhere: .*NO_ROUTE"):
        broker.publish_all(connection, messages, accepted.append)
    assert sorted(accepted) == [0, 2]
    assert bodies(connection, queues.LIGHT) == [b"one", b"three"]
    broker.publish_all(connection, messages, mandatory=False)
    assert len(bodies(connection, queues.LIGHT)) == 2


@pytest.mark.parametrize("kind", ["rabbitmq"])
def test_what_the_broker_rejects_is_not_accepted(connection: Connection) -> None:
    full = {"x-max-length": 2, "x-overflow": "reject-publish"}
    Queue("short", routing_key="short", queue_arguments=full)(connection.default_channel).declare()
    accepted: list[int] = []
    with pytest.raises(broker.BrokerError, match="refused 3 messages"):
        broker.publish_all(connection, [("short", b"")] * 5, accepted.append)
    assert sorted(accepted) == [0, 1]


@pytest.fixture(scope="module")
def starving() -> Iterator[RabbitMQ]:
    """A broker of these tests' own, to run out of memory."""
    with server_folder() as folder, RabbitMQ(folder / "rabbitmq") as rabbit:
        yield rabbit


def starve(rabbit: RabbitMQ) -> None:
    """It accepts no message any more, and says so to nobody who has not tried."""
    rabbit.ctl("set_vm_memory_high_watermark", "absolute", "1")


def feed(rabbit: RabbitMQ) -> None:
    rabbit.ctl("set_vm_memory_high_watermark", "0.6")


@pytest.mark.django_db(transaction=True)
def test_a_broker_without_memory_holds_nobody_up_and_queues_no_job(
    starving: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "PATIENCE", 1.0)
    url = starving.vhost("starving")
    with broker.connect(url) as connection:
        broker.declare_all(connection)
        early = Dispatcher(connection)
        waiting = folds(prepared(), 3)
        live(slots=3)
        starve(starving)
        try:
            with pytest.raises(broker.BrokerError, match="unconfirmed"):
                early.run_once()
            assert {state_of(one) for one in waiting} == {JobState.CREATED}
            # From now on none is even tried.
            with pytest.raises(broker.BrokerError, match="unconfirmed"), broker.connect(url) as another:
                Dispatcher(another)
            assert set(Job.objects.values_list("state", "attempt")) >= {(JobState.CREATED, 1)}
        finally:
            feed(starving)
    with broker.connect(url) as connection:
        assert Dispatcher(connection).run_once() == 3
        assert {state_of(one) for one in waiting} == {JobState.QUEUED}


@pytest.mark.django_db(transaction=True)
def test_a_job_whose_order_is_refused_waits_on(broker_url: str) -> None:
    version = prepared()
    live(slots=4)
    with broker.connect(broker_url) as connection:
        broker.declare_all(connection)
        dispatcher = Dispatcher(connection)
        light, heavy = fold(version), fold(version, queue=queues.HEAVY)
        broker.queue(queues.HEAVY)(connection.default_channel).delete()
        with pytest.raises(broker.BrokerError, match="refused 1 messages: H"):
            dispatcher.run_once()
        assert state_of(heavy) == JobState.CREATED
        assert state_of(light) == JobState.QUEUED
