"""The broker in a folder: nothing lost, nothing twice, in order, though processes come, go and are killed."""

import multiprocessing
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Consumer, Queue
from kombu.exceptions import OperationalError

from datarun.broker.filesystem import LOOK_PERIOD

SPAWN = multiprocessing.get_context("spawn")
BINARY = {"content_type": "application/data", "content_encoding": "binary"}
UNSAFE_NAMES = ["control.runner@host/1", "../up", "..", ".", "/etc/passwd", "a\0b", "a b%2F", "dot.ted", "Öl"]


def connect(folder: Path, **options: Any) -> Connection:
    options = {"folder": str(folder), **options}
    return Connection(transport="datarun.broker.filesystem:Transport", transport_options=options)


def publish(connection: Connection, queue: str, *bodies: Any) -> None:
    for body in bodies:
        connection.Producer().publish(body, routing_key=queue, serializer="json")


def take(connection: Connection, queue: str, **kwargs: Any) -> Any:
    """The next message, or None."""
    return connection.default_channel.basic_get(queue, **kwargs)


def bodies(connection: Connection, queue: str) -> list[Any]:
    """All that waits in the queue, acknowledged."""
    found = []
    while message := take(connection, queue):
        found.append(message.decode())
        message.ack()
    return found


def publish_numbers(folder: Path, publisher: int, count: int) -> None:
    with connect(folder) as connection:
        publish(connection, "work", *([publisher, number] for number in range(count)))


def consume_until_told(folder: Path) -> list[list[int]]:
    """Everything this consumer got before the message `"stop"`, polling without any pause."""
    received: list[Any] = []

    def keep(body: Any, message: Any) -> None:
        received.append(body)
        message.ack()

    with (
        connect(folder, polling_interval=0) as connection,
        Consumer(connection, [Queue("work")], callbacks=[keep]),
    ):
        while "stop" not in received[-1:]:
            connection.drain_events(timeout=60)
    return received[:-1]


def hold(folder: Path, count: int, pipe: Pipe) -> None:
    """Take `count` messages, say so, and keep them until killed."""
    with connect(folder) as connection:
        held = [take(connection, "work").decode() for _ in range(count)]
        pipe.send(held)
        pipe.recv()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "broker"


@pytest.fixture
def open_connection(folder: Path) -> Iterator[Callable[[], Connection]]:
    """Makes connections to the folder, and closes them at the end."""
    made: list[Connection] = []

    def make() -> Connection:
        made.append(connect(folder))
        return made[-1]

    yield make
    for connection in made:
        connection.release()


@pytest.fixture
def connection(open_connection: Callable[[], Connection]) -> Connection:
    return open_connection()


@pytest.fixture
def other(open_connection: Callable[[], Connection]) -> Connection:
    return open_connection()


@pytest.mark.parametrize(
    ("executor", "count"),
    [
        pytest.param(lambda: ProcessPoolExecutor(8, mp_context=SPAWN), 2000, id="processes"),
        pytest.param(lambda: ThreadPoolExecutor(8), 200, id="threads"),
    ],
)
def test_four_publishers_and_four_tight_consumers(
    executor: Callable[[], Executor], count: int, folder: Path, connection: Connection
) -> None:
    with executor() as pool:
        consumers = [pool.submit(consume_until_told, folder) for _ in range(4)]
        publishers = [pool.submit(publish_numbers, folder, publisher, count) for publisher in range(4)]
        for publisher in publishers:
            publisher.result()
        publish(connection, "work", *["stop"] * 4)
        received = [consumer.result() for consumer in consumers]

    everything = sorted(message for got in received for message in got)
    assert everything == [[publisher, number] for publisher in range(4) for number in range(count)]
    for got in received:
        for publisher in range(4):
            numbers = [number for by, number in got if by == publisher]
            assert numbers == sorted(numbers), "one publisher's messages came out of order"
    assert list((folder / "queues" / "work").iterdir()) == []


def test_first_in_first_out_while_publishing(folder: Path, connection: Connection) -> None:
    with ProcessPoolExecutor(2, mp_context=SPAWN) as pool:
        consumer = pool.submit(consume_until_told, folder)
        pool.submit(publish_numbers, folder, 0, 2000).result()
        publish(connection, "work", "stop")
        assert consumer.result() == [[0, number] for number in range(2000)]


def test_messages_outlive_every_process(folder: Path) -> None:
    publisher = SPAWN.Process(target=publish_numbers, args=(folder, 7, 3))
    publisher.start()
    publisher.join()
    with connect(folder) as connection:
        assert bodies(connection, "work") == [[7, 0], [7, 1], [7, 2]]


def test_a_killed_consumer_gives_back_what_it_held(folder: Path, connection: Connection) -> None:
    publish(connection, "work", 1, 2, 3, 4)
    here, there = SPAWN.Pipe()
    consumer = SPAWN.Process(target=hold, args=(folder, 3, there))
    consumer.start()
    assert here.recv() == [1, 2, 3]
    assert bodies(connection, "work") == [4], "a living consumer's messages were delivered again"

    received: list[Any] = []
    with Consumer(connection, [Queue("work")], on_message=lambda message: received.append(message.decode())):
        with pytest.raises(socket.timeout):
            connection.drain_events(timeout=0.1)  # it waits already when the other dies
        consumer.kill()
        consumer.join()
        while len(received) < 3:
            connection.drain_events(timeout=5 * LOOK_PERIOD)
    assert received == [1, 2, 3]


def test_traces_of_a_killed_consumer_are_removed(folder: Path) -> None:
    with connect(folder) as connection:
        publish(connection, "work", 1)
    here, there = SPAWN.Pipe()
    consumer = SPAWN.Process(target=hold, args=(folder, 1, there))
    consumer.start()
    here.recv()
    consumer.kill()
    consumer.join()
    with connect(folder) as connection:
        assert bodies(connection, "work") == [1]
    assert [list((folder / place).iterdir()) for place in ("owners", "tmp", "queues/work")] == [[], [], []]


def test_a_requeued_message_comes_first_again(connection: Connection, other: Connection) -> None:
    publish(connection, "work", 1, 2, 3)
    first, second = take(connection, "work"), take(connection, "work")
    first.requeue()
    second.ack()
    assert bodies(connection, "work") == [1, 3]

    publish(connection, "work", 4, 5)
    take(connection, "work").requeue()
    assert bodies(other, "work") == [4, 5]


def test_a_rejected_message_is_dropped(connection: Connection, other: Connection) -> None:
    publish(connection, "work", 1, 2)
    take(connection, "work").reject()
    connection.release()
    assert bodies(other, "work") == [2]


def test_closing_puts_back_what_is_not_acknowledged(connection: Connection, other: Connection) -> None:
    publish(connection, "work", 1, 2, 3, 4)
    held = [take(connection, "work") for _ in range(3)]
    held[1].ack()
    assert bodies(other, "work") == [4]
    connection.release()
    assert bodies(other, "work") == [1, 3]


def test_acknowledging_several_at_once(connection: Connection, other: Connection) -> None:
    publish(connection, "work", 1, 2, 3)
    held = [take(connection, "work") for _ in range(3)]
    held[1].ack(multiple=True)
    connection.release()
    assert bodies(other, "work") == [3]


def test_without_acknowledgement_a_message_is_gone_once_delivered(
    connection: Connection, other: Connection
) -> None:
    publish(connection, "work", 1, 2)
    received: list[Any] = [take(connection, "work", no_ack=True).decode()]
    with Consumer(
        connection, [Queue("work")], callbacks=[lambda body, _: received.append(body)], no_ack=True
    ):
        connection.drain_events(timeout=5)
    connection.release()
    assert received == [1, 2]
    assert bodies(other, "work") == []


def test_prefetch_limits_what_a_consumer_holds(connection: Connection, other: Connection) -> None:
    publish(connection, "work", 1, 2, 3)
    held: list[Any] = []
    with Consumer(connection, [Queue("work")], on_message=held.append, prefetch_count=2):
        for _ in range(2):
            connection.drain_events(timeout=5)
        with pytest.raises(socket.timeout):
            connection.drain_events(timeout=0.1)
        assert bodies(other, "work") == [3]
        publish(other, "work", 4)
        held[0].ack()
        connection.drain_events(timeout=5)
    assert [message.decode() for message in held] == [1, 2, 4]


@pytest.mark.parametrize("size", [1, 256, 10_000_001])
def test_bytes_come_back_exactly(size: int, connection: Connection, other: Connection) -> None:
    body = (bytes(range(256)) * (size // 256 + 1))[-size:]
    connection.Producer().publish(body, routing_key="work", headers={"kind": "order"}, **BINARY)
    message = take(other, "work")
    assert message.body == body
    assert message.headers == {"kind": "order"}


def test_any_queue_name_stays_inside_the_folder(
    folder: Path, connection: Connection, other: Connection
) -> None:
    for name in UNSAFE_NAMES:
        connection.default_channel.queue_declare(name)
        publish(connection, name, name)
    assert [bodies(other, name) for name in UNSAFE_NAMES] == [[name] for name in UNSAFE_NAMES]
    assert list(folder.parent.iterdir()) == [folder]
    assert len([path for path in (folder / "queues").rglob("*") if path.is_dir()]) == len(UNSAFE_NAMES)


def test_only_the_owner_may_enter(folder: Path, connection: Connection) -> None:
    publish(connection, "work", 1)
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            assert path.stat().st_mode & 0o777 == 0o700, path


def test_a_queue_is_there_for_all_once_declared(connection: Connection, other: Connection) -> None:
    with pytest.raises(other.channel_errors, match="no queue 'work'"):
        other.default_channel.queue_declare("work", passive=True)
    connection.default_channel.queue_declare("work")
    publish(connection, "work", 1, 2)
    assert other.default_channel.queue_declare("work", passive=True).message_count == 2


def test_purging_spares_what_is_delivered(connection: Connection, other: Connection) -> None:
    publish(connection, "work", 1, 2, 3)
    held = take(connection, "work")
    assert other.default_channel.queue_purge("work") == 2
    held.requeue()
    assert bodies(other, "work") == [1]


def test_deleting_a_queue(connection: Connection, other: Connection) -> None:
    publish(connection, "work", 1)
    connection.default_channel.queue_delete("work", if_empty=True)
    held = take(connection, "work")
    assert held is not None
    other.default_channel.queue_delete("work")
    with pytest.raises(other.channel_errors):
        connection.default_channel.queue_declare("work", passive=True)
    held.ack()
    publish(connection, "work", 2)
    assert bodies(other, "work") == [2]


def test_an_idle_consumer_hears_at_once(connection: Connection, other: Connection) -> None:
    received: list[Any] = []
    publish(other, "work", 1)
    held = take(other, "work")
    with Consumer(connection, [Queue("work")], callbacks=[lambda body, _: received.append(body)]):
        for make_it_wait in (held.requeue, lambda: publish(other, "work", 2)):
            with pytest.raises(socket.timeout):
                connection.drain_events(timeout=0.1)
            make_it_wait()
            connection.drain_events(timeout=LOOK_PERIOD / 2)
    assert received == [1, 2]


def test_waiting_costs_next_to_nothing(connection: Connection) -> None:
    with Consumer(connection, [Queue(name) for name in ("L", "H", "celery")], callbacks=[lambda *_: None]):
        before = time.process_time()
        with pytest.raises(socket.timeout):
            connection.drain_events(timeout=2)
        assert time.process_time() - before < 0.03 * 2


def test_a_damaged_message_stops_no_other(
    folder: Path, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    publish(connection, "work", 1, 2)
    first = min((folder / "queues" / "work").iterdir())
    first.write_bytes(b"")
    assert bodies(connection, "work") == [2]
    assert first.name in caplog.text
    assert [path.stem for path in (folder / "queues" / "work").iterdir()] == [first.name]


def test_a_folder_that_cannot_be_made_is_named(folder: Path) -> None:
    folder.write_text("a file is in the way")
    with connect(folder) as connection, pytest.raises(OperationalError, match=re.escape(str(folder))):
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)


def test_a_folder_that_vanished_is_named_and_made_again(folder: Path, connection: Connection) -> None:
    producer = connection.Producer()
    producer.publish(1, routing_key="work")
    shutil.rmtree(folder)
    with pytest.raises(connection.connection_errors, match=re.escape(str(folder))):
        producer.publish(2, routing_key="work")
    producer.publish(3, routing_key="work", retry=True)
    assert bodies(connection, "work") == [3]


def test_a_connection_needs_a_folder() -> None:
    with pytest.raises(ValueError, match="folder"):
        Connection(transport="datarun.broker.filesystem:Transport").connect()
