"""Connections to the broker: RabbitMQ, or a folder on a laptop. The same few verbs for both.

Used by scheduler and runners; the web never imports it. Knows bytes and queues, not what messages mean.
"""

import contextlib
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

from amqp.exceptions import AMQPError, ChannelError
from kombu import Connection, Consumer, Exchange, Message, Producer, Queue
from kombu.exceptions import OperationalError

from datarun.contract import queues, wire

from .confirms import Confirms

#: Seconds between AMQP heartbeats: a dead link, or a process that hangs, is noticed after two or three.
HEARTBEAT = 4
#: Seconds for the broker to take a batch of messages.
PATIENCE = 10
# From RabbitMQ 4 on, a message that came back 20 times would be dropped unless the queue says otherwise.
_DELIVERIES = 1_000_000
_CONTROL_EXPIRES = 24 * 3600 * 1000  # milliseconds without a consumer
_FILESYSTEM = "datarun.broker.filesystem:Transport"
# Callers decide when to try again, and say so in the log.
_NO_RETRIES = {"max_retries": 1, "interval_start": 0}

#: What a broken, refused or blocked connection raises. (For `except`.)
BrokerError = (OperationalError, AMQPError, OSError)


class _Connection(Connection):
    """Left without a farewell when it has failed: a broker that doesn't read would be waited for without an end."""

    def __exit__(self, error: type[BaseException] | None, *more: Any) -> None:
        if error is not None and issubclass(error, BrokerError):
            self.collect()
        else:
            super().__exit__(error, *more)


def connect(url: str) -> Connection:
    """A connection to `amqp://…`, or to the folder in `filesystem:///path`; opened on first use."""
    if urlsplit(url).scheme == "filesystem":
        folder = unquote(urlsplit(url).path)
        return Connection(transport=_FILESYSTEM, transport_options={"folder": folder} | _NO_RETRIES)
    return _Connection(
        url,
        # With TLS, by the system's authorities (or those of SSL_CERT_FILE), and for the host of the URL.
        ssl={"server_hostname": None} if urlsplit(url).scheme == "amqps" else False,
        heartbeat=HEARTBEAT,
        connect_timeout=5,
        transport_options={
            "read_timeout": 15,
            "write_timeout": 15,
            **_NO_RETRIES,
        },
    )


def queue(name: str) -> Queue:
    """A durable quorum queue (RabbitMQ 3.10+): it survives the loss of a node and of the broker's process.

    What schedulers collect goes to one of them at a time, so that its order is kept; a runner's control queue
    goes with the runner.
    """
    arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": _DELIVERIES}
    if name in queues.COLLECTED:
        arguments["x-single-active-consumer"] = True
    if name.startswith(queues.control("")):
        arguments["x-expires"] = _CONTROL_EXPIRES
    return Queue(name, routing_key=name, durable=True, queue_arguments=arguments)


def declare_all(connection: Connection) -> None:
    """Every queue that master and runners share, and the exchange of reports. The scheduler's: runners may not.

    Declaring again changes nothing.
    """
    channel = connection.default_channel
    Exchange(queues.REPORTS, "direct", durable=True)(channel).declare()
    for name in (*queues.ORDER_QUEUES, queues.RESULTS, queues.EVENTS, queues.PARKED):
        queue(name)(channel).declare()
    for name in queues.REPORTED:
        queue(name)(channel).bind_to(queues.REPORTS, routing_key=name)


def declare(connection: Connection, name: str) -> None:
    """Makes this queue, if there is none."""
    queue(name)(connection.default_channel).declare()


def exists(connection: Connection, name: str) -> bool:
    """Whether somebody has made this queue."""
    try:
        with connection.channel() as channel:  # which a queue that is missing closes
            channel.queue_declare(name, passive=True)
    except ChannelError:
        return False
    return True


def report(connection: Connection, queue_name: str, *bodies: bytes) -> None:
    """Puts what a runner says on one of the queues that the master reads, in this order. As `publish_all`."""
    send_report(connection, queue_name, *bodies).wait()


def send_report(connection: Connection, queue_name: str, *bodies: bytes) -> "Sent":
    """The same, without awaiting the broker's confirms: that is for the caller to do."""
    # In a folder there is only the default exchange, and one user.
    shared = connection.transport.driver_type == "filesystem"
    messages = [(queue_name, body) for body in bodies]
    return _send(connection, messages, exchange="" if shared else queues.REPORTS)


def publish(connection: Connection, queue_name: str, body: bytes, mandatory: bool = True) -> None:
    """Puts `body` on the queue; returns once the broker has confirmed it. Raises `BrokerError`.

    Where there is no such queue, `mandatory` makes it an error; otherwise the message is gone.
    """
    publish_all(connection, [(queue_name, body)], mandatory=mandatory)


def publish_all(
    connection: Connection,
    messages: Iterable[tuple[str, bytes]],
    accepted: Callable[[int], object] = lambda position: None,
    mandatory: bool = True,
) -> None:
    """Puts messages (queue, body) on their queues; the broker's confirms are awaited for all of them together.

    Calls `accepted` with the position of each that the broker has taken. Raises `BrokerError` unless it has taken
    all of them in time; of the others nobody knows, or it has refused them.
    """
    _send(connection, messages, accepted, mandatory).wait()


class Sent:
    """Messages on their way: the broker has yet to say that it has them. One batch of a connection at a time."""

    def __init__(self, connection: Connection, until: float, confirms: Confirms) -> None:
        self._connection, self._until, self._confirms = connection, until, confirms

    def wait(self) -> None:
        """Returns once the broker has all of them; raises `BrokerError`."""
        self._confirms.wait(self._connection, self._until)


def _send(
    connection: Connection,
    messages: Iterable[tuple[str, bytes]],
    accepted: Callable[[int], object] = lambda position: None,
    mandatory: bool = True,
    exchange: str = "",
) -> Sent:
    channel = connection.default_channel
    producer, until = Producer(channel), time.monotonic() + PATIENCE
    confirms = Confirms.of(channel)
    confirms.begin()
    for position, (queue_name, body) in enumerate(messages):
        producer.publish(
            body,
            routing_key=queue_name,
            exchange=exchange,
            content_type=wire.CONTENT_TYPE,
            content_encoding="binary",
            delivery_mode="persistent",
            mandatory=mandatory,
            timeout=PATIENCE,
            message_id=confirms.next_id,
        )
        confirms.published(partial(accepted, position))
    return Sent(connection, until, confirms)


def get(channel: Any, name: str) -> Message | None:
    """The next message of the queue, unacknowledged, or None if none waits there."""
    message = channel.basic_get(name)
    return None if message is None else channel.message_to_python(message)


def consumer(
    channel: Any, names: Iterable[str], callback: Callable[[Message], None], prefetch: int
) -> Consumer:
    """A consumer of the queues `names`, not started yet, that holds at most `prefetch` unacknowledged.

    `callback` gets every message, also one that claims a compression which it has not: raising would leave it in
    the queue, for ever in the way of the others.
    """
    made = Consumer(
        channel,
        queues=[queue(name) for name in names],
        on_message=callback,
        on_decode_error=lambda message, _: callback(message),
        auto_declare=False,
        accept=[wire.CONTENT_TYPE],
    )
    made.qos(prefetch_count=prefetch)
    return made


def body_of(message: Message) -> bytes:
    """The bytes of a delivered message."""
    body = message.body
    return body.encode() if isinstance(body, str) else bytes(body)


def keep_alive(connection: Connection) -> None:
    """Reads and sends AMQP heartbeats; to be called at least every `HEARTBEAT` / 2 seconds.

    For a connection that nobody drains: the broker's heartbeats have to be read to be counted.
    """
    if connection.supports_heartbeats:
        with contextlib.suppress(TimeoutError):
            connection.drain_events(timeout=0.001)
        connection.heartbeat_check()
