"""Collect: claims, outcomes and events, in batches; one transaction a batch, acknowledged after it.

A message that can't be decoded or recorded is parked with its reason: it neither blocks the queue nor is
lost.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, get_args

from django.db import InterfaceError, OperationalError, transaction
from kombu import Connection, Consumer, Message

from datarun.broker import connection as broker
from datarun.contract import messages, queues, wire
from datarun.contract.messages import Claim, LogChunk, Outcome, Ping, StageReached
from runapp.services import metrics, results, wakeup

from . import dispatch

logger = logging.getLogger(__name__)

BATCH = 500
#: How long a batch waits for company once it has its first message, in seconds.
_LINGER = 0.002
#: The same while it has but claims, which nobody waits for: a short fold's outcome soon follows, and ends it.
_CLAIMS_LINGER = 0.25
#: Seconds between the beginnings of two batches while jobs wait for slots: one for many folds costs little more.
_PACE = 0.4
#: Seconds between two pings.
_PING = 2.0
#: Without a ping for so many seconds it does not hear.
_GAP = 3 * _PING

_RESULT_TYPES = get_args(messages.Result)
#: What frees no slot.
_ON_THE_WAY = (Claim, StageReached, LogChunk, Ping)
_EVENT_TYPES = get_args(messages.Event)


class Hearing:
    """Whether this scheduler hears all that runners say: its pings come back, soon, without a gap, by every queue.

    A ping that came back proves that everything before it in its queue has been collected.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """On a new connection it has heard nothing yet."""
        self._ears = {queue: _Ear() for queue in queues.COLLECTED}

    def ping(self, queue: str) -> Ping:
        """What to put on `queue` now."""
        return Ping(sender=self._ears[queue].name, number=round(time.monotonic() * 1000))

    def heard(self, ping: Ping) -> None:
        for ear in self._ears.values():
            ear.heard(ping)

    def lags(self, pings: Iterable[Ping]) -> list[float]:
        """How many seconds this scheduler's own pings among these were on their way."""
        ours = {ear.name for ear in self._ears.values()}
        return [_age(ping) for ping in pings if ping.sender in ours]

    def seconds(self, *names: str) -> float:
        """For how long it has heard everything, of these queues or of all; 0 when it does not hear now."""
        return min(self._ears[name].seconds() for name in names or self._ears)


class _Ear:
    """What one queue brings back of the pings named for it, which carry this process's clock."""

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        self._since = self._last = float("-inf")

    def heard(self, ping: Ping) -> None:
        now = time.monotonic()
        # One that took long comes from a backlog: what is behind it has not been collected.
        if ping.sender == self.name and _age(ping) < _GAP:
            if now - self._last > _GAP:
                self._since = now
            self._last = now

    def seconds(self) -> float:
        now = time.monotonic()
        return now - self._since if now - self._last < _GAP else 0.0


def _age(ping: Ping) -> float:
    return max(0.0, time.monotonic() - ping.number / 1000)


class Collector:
    """Takes messages from one connection and has them recorded. `is_behind`: whether jobs wait for slots."""

    def __init__(
        self, connection: Connection, hearing: Hearing, is_behind: Callable[[], bool] = lambda: False
    ) -> None:
        self._connection, self._hearing, self._is_behind = connection, hearing, is_behind
        self._batch: list[Message] = []
        self._only_claims = True  # are in it
        self._next_ping = self._begun = 0.0
        self._consumers: dict[str, Consumer] = {}
        hearing.restart()
        self._consume(queues.EVENTS)

    def run_once(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds for messages, records a batch; returns whether any came."""
        # Who gets the events takes the results too, so that there is one that hears everything.
        if queues.RESULTS not in self._consumers and self._hearing.seconds(queues.EVENTS):
            self._consume(queues.RESULTS)
            self._next_ping = 0.0
        self._ping()
        # Some may have come while a ping was confirmed.
        if not self._batch and not self._drain(timeout):
            broker.keep_alive(self._connection)
            return False
        began = time.monotonic()
        while len(self._batch) < BATCH and self._drain(max(_LINGER, self._due(began) - time.monotonic())):
            pass
        self._begun = time.monotonic()
        batch, self._batch, self._only_claims = self._batch, [], True
        self._record(batch)
        return True

    def _due(self, began: float) -> float:
        """When to record the batch that began then."""
        if self._is_behind():
            return self._begun + _PACE
        return began + _CLAIMS_LINGER if self._only_claims else began

    def _receive(self, message: Message) -> None:
        self._batch.append(message)
        self._only_claims &= wire.type_of(broker.body_of(message)) == Claim.__name__

    def _consume(self, queue: str) -> None:
        """Each queue has one scheduler that gets its messages: the one that came first, until it goes."""
        channel = self._connection.default_channel
        consumer = broker.consumer(channel, [queue], self._receive, prefetch=BATCH)
        consumer.consume()
        self._consumers[queue] = consumer

    def _ping(self) -> None:
        if time.monotonic() < self._next_ping:
            return
        self._next_ping = time.monotonic() + _PING
        for queue in self._consumers:
            broker.publish(self._connection, queue, wire.encode(self._hearing.ping(queue)))

    def _drain(self, timeout: float) -> bool:
        try:
            self._connection.drain_events(timeout=timeout)
        except TimeoutError:
            return False
        return True

    def _record(self, batch: list[Message]) -> None:
        told: list[results.Told] = []
        try:
            told, pings = _apply([value for message in batch for value in _decode(message)], self._hearing)
            for ping in pings:
                self._hearing.heard(ping)
        except (OperationalError, InterfaceError):
            raise  # the database is away: nothing is acknowledged, all of it comes again
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a message, it is parked
            if len(batch) > 1:  # one of them is bad: the others must not suffer for it
                for message in batch:
                    self._record([message])
                return
            told = self._record_parts(batch[0])
            self._park(batch[0], error)
        batch[-1].ack(multiple=True)  # with all before it: what came later is of the next batch
        dispatch.tell(self._connection, told)

    def _record_parts(self, message: Message) -> list[results.Told]:
        """Of a message that says several things, those that can be recorded count, though it will be parked."""
        try:
            values = _decode(message)
        except wire.DecodeError:
            return []
        told: list[results.Told] = []
        for value in values if len(values) > 1 else ():
            try:
                told += _apply([value], self._hearing)[0]
            except (OperationalError, InterfaceError):
                raise
            except Exception as error:  # noqa: BLE001 - as above
                logger.warning("a %s can't be recorded: %s", type(value).__name__, error)
        return told

    def _park(self, message: Message, error: Exception) -> None:
        if isinstance(error, wire.VersionError) and error.type == messages.Heartbeat.__name__:
            runner = results.note_incompatible(str(error.fields.get("runner", "unknown")), error.version)
            # It can't read this either, and so learns that it does not suit.
            told = results.Told(runner, messages.Stop(job="", attempt=0, why="Another version is needed."))
            dispatch.tell(self._connection, [told])
            return
        body = broker.body_of(message)
        logger.warning("parked a message of %d bytes: %s", len(body), error)
        broker.publish(self._connection, queues.PARKED, body)
        results.drop("parked", detail=str(error))


def _decode(message: Message) -> list[Any]:
    """What the message says, an outcome's `next` by itself."""
    value = wire.decode(broker.body_of(message))
    if not isinstance(value, (*_RESULT_TYPES, *_EVENT_TYPES)):
        raise wire.DecodeError(f"a {type(value).__name__} is nothing that a runner reports")
    return [value, value.next] if isinstance(value, Outcome) and value.next else [value]


def _apply(values: list[Any], hearing: Hearing) -> tuple[list[results.Told], list[Ping]]:
    """Records the messages; returns whom to tell to stop, and the pings among them."""
    pings = [value for value in values if isinstance(value, Ping)]
    with transaction.atomic():
        if not all(isinstance(value, _ON_THE_WAY) for value in values):
            wakeup.scheduler()  # a slot may be free now, and another scheduler the one that dispatches
        told: list[results.Told] = []
        if said := [value for value in values if isinstance(value, _RESULT_TYPES)]:
            told += results.record(said)
        if said := [value for value in values if isinstance(value, _EVENT_TYPES)]:
            told += results.note(said)
        metrics.count_batch("collect", len(values), hearing.lags(pings))
    return told, pings
