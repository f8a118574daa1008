"""Delivers copies of every message that master and runners send, and garbage.

The broker's own tracing shows what is published; each copy goes to the same queue, half of them a second later: what
comes at once is likely to be collected together with its original.
"""

import json
import random
import time
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

from kombu import Connection, Consumer, Exchange, Message, Producer, Queue

from datarun.contract import wire
from datarun.contract.messages import CONTRACT_VERSION
from tests.services import RabbitMQ

_TRACE = Exchange("amq.rabbitmq.trace", type="topic", passive=True, internal=True)
_LATE = 1.0  # seconds
_COPY = "copy"  # the header that tells copies from what is to be copied


@contextmanager
def everything_twice(rabbit: RabbitMQ) -> Iterator["Copier"]:
    """While it lasts, each message is delivered once more."""
    copier = Copier(rabbit.url)
    rabbit.ctl("trace_on")
    try:
        with copier:
            yield copier
    finally:
        rabbit.ctl("trace_off")


class Copier:
    """Publishes again what the broker's trace shows, in a thread of its own."""

    def __init__(self, url: str) -> None:
        self._connection = Connection(url)
        self._closing = Event()
        self._thread = Thread(target=self._copy_all)
        # Copies that wait: when they are due, queue, content type and body.
        self._late: deque[tuple[float, str, str, bytes]] = deque()
        self.copied = 0

    def __enter__(self) -> "Copier":
        channel = self._connection.default_channel
        queue = Queue("faults.trace", _TRACE, routing_key="publish.#", exclusive=True, no_declare=False)
        bound = queue(channel)
        bound.queue_declare()
        bound.queue_bind()
        Consumer(channel, [bound], on_message=self._copy, auto_declare=False, no_ack=True).consume()
        self._producer = Producer(channel)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        self._connection.release()

    def _copy_all(self) -> None:
        while not self._closing.is_set():
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=0.1)
            while self._late and self._late[0][0] < time.monotonic():
                self._publish(*self._late.popleft()[1:])

    def _copy(self, message: Message) -> None:
        properties: dict[str, Any] = message.headers["properties"]
        if _COPY in (properties.get("headers") or {}):
            return
        body = message.body
        content = body.encode() if isinstance(body, str) else bytes(body)
        copy = (message.headers["routing_keys"][0], properties["content_type"], content)
        if self.copied % 2:
            self._publish(*copy)
        else:
            self._late.append((time.monotonic() + _LATE, *copy))
        self.copied += 1

    def _publish(self, queue: str, content_type: str, body: bytes) -> None:
        self._producer.publish(
            body,
            routing_key=queue,
            content_type=content_type,
            content_encoding="binary",
            headers={_COPY: 1},
            delivery_mode=2,
        )


def garbage(rabbit: RabbitMQ, names: list[str], rng: random.Random) -> int:
    """Puts a copy of everything that makes no sense on each of these queues; returns how many messages."""
    bodies = [*_noise(rng), *_nonsense()]
    with Connection(rabbit.url, transport_options={"confirm_publish": True}) as connection:
        producer = Producer(connection.default_channel)
        for name in names:
            for body in bodies:
                producer.publish(
                    body, routing_key=name, content_type=wire.CONTENT_TYPE, content_encoding="binary"
                )
            for odd in _ODD_PROPERTIES:
                producer.publish(b"odd", routing_key=name, **odd)
    return len(names) * (len(bodies) + len(_ODD_PROPERTIES))


_ODD_PROPERTIES: tuple[dict[str, Any], ...] = (
    {"content_type": "application/x-python-serialize", "content_encoding": "binary"},
    {"content_type": "application/json", "content_encoding": "no such encoding"},
    {"headers": {"compression": "application/x-gzip"}},
    {"headers": {"compression": "no such compression"}},
)


def _noise(rng: random.Random) -> Iterator[bytes]:
    """No messages at all."""
    yield from (b"", b"\0", b"{}", b"\xff" * 8, rng.randbytes(1000))
    yield _message(b"not json") + b"..."
    yield _message(b"[" * 100_000)
    yield _message(b"[]")
    yield _message(b'{"version": 1}')


def _nonsense() -> Iterator[bytes]:
    """What looks like a message, of nobody, about nothing."""
    job = str(uuid.UUID(int=1))
    about = {"job": job, "attempt": 1, "runner": "runner-1@test"}
    yield _say("NoSuchMessage", {})
    yield _say("Claim", {"job": job})
    yield _say("Claim", about | {"more": 1})
    yield _say("Claim", about)
    for odd in ("no uuid", "\0", "\ud800", "x" * 10_000):
        yield _say("Claim", about | {"job": odd})
        yield _say("Claim", about | {"runner": odd})
        yield _say("Outcome", about | {"job": odd})
        yield _say("Outcome", about | {"message": odd, "log": odd})
        yield _say("Outcome", about | {"failure": odd})
        yield _say("LogChunk", about | {"offset": 0, "text": odd})
        yield _say("StageReached", about | {"stage": odd})
        yield _say("Heartbeat", _HEARTBEAT | {"runner": odd + "x" * 300})
        yield _say("Heartbeat", {"runner": odd}, version=99)
        yield _say(odd, {}, version=99)
    for attempt in (-1, 0, 1 << 40, 1 << 80):
        for kind in ("Claim", "Outcome", "HandedBack", "Stopped"):
            yield _say(kind, about | {"attempt": attempt})
    for version in (0, 99):  # left behind by a master that was upgraded, or set back
        yield _say("FoldOrder", about, version=version)
    yield _say("Outcome", about | {"failure": "environment"})
    yield _say("Outcome", about | {"array_blobs": {"train": "no such blob"}})
    yield _say("Outcome", about | {"measures": {"train_time": 1e400}})
    yield _say("Outcome", about, arrays=[["train", 1 << 40]])
    yield _say("Outcome", about, arrays=[["train", 9]]) + b"not npy.."
    yield _say("Heartbeat", _HEARTBEAT | {"slots": -1})
    yield _say("Heartbeat", _HEARTBEAT | {"running": {"no uuid": 1}})
    yield _say("LogChunk", about | {"offset": 1 << 40, "text": ""})
    yield _say("Ping", {"sender": "nobody", "number": 0})
    yield _say("Stop", {"job": job, "attempt": 1, "why": "because"})


_HEARTBEAT = {"runner": "nobody", "queues": [], "slots": 0, "running": {}, "versions": {}, "leaving": True}


def _say(
    kind: str, fields: dict[str, Any], version: int = CONTRACT_VERSION, arrays: list[Any] | None = None
) -> bytes:
    header = {"version": version, "type": kind, "fields": fields, "arrays": arrays or []}
    return _message(json.dumps(header).encode())


def _message(header: bytes) -> bytes:
    return len(header).to_bytes(4, "big") + header
