"""Dispatch: created → queued, in fair order; and telling runners what to stop.

Each broker queue holds little more than what its free slots take at once. The rest waits in PostgreSQL, where it
can be counted, explained, reordered and cancelled.
"""

import logging
import math
import time
from collections.abc import Iterable

from kombu import Connection

from datarun.broker import connection as broker
from datarun.contract import queues, wire
from datarun.contract.messages import Ping, Stop
from datarun.contract.states import JobState
from runapp import states
from runapp.models import Job
from runapp.services import fairness, metrics, orders, runners, waiting
from runapp.services.results import Told

logger = logging.getLogger(__name__)

#: Seconds of work that wait in the broker, so that a slot has its next order without a round trip to here.
_BUFFER = 1.0
_MAX_BUFFER = 24  # orders a slot
_BATCH = 500
_LONGEST_NAME = 255  # bytes of a queue's name, in AMQP: what has a longer one is no runner


class Dispatcher:
    """One connection to a broker that takes messages, and whose turn it is. Raises `BrokerError`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turns = fairness.Turns()
        self._declared = set(queues.ORDER_QUEUES)
        #: Whether the last round left jobs that wait for a slot.
        self.behind = False
        # A broker may be connected and take nothing, for want of memory or disk: then no job is queued in vain.
        broker.publish(connection, queues.EVENTS, wire.encode(Ping(sender="dispatch", number=0)))

    def run_once(self) -> int:
        """One round over all queues; returns how many orders were published."""
        self.behind = False
        waiting_in = fairness.with_work(self._turns.in_turn())
        published = sum(self._dispatch(name) for name in waiting_in)
        tell(self._connection, _cancelled())
        return published

    def _dispatch(self, name: str) -> int:
        serving = runners.serving(name)
        room = _room(name, sum(runner.slots for runner in serving))
        published = 0
        while (limit := min(_BATCH, room - published)) > 0:
            number = self._publish(name, limit, others=len(serving) > 1)
            published += number
            if number < limit:
                return published
        self.behind = True
        return published

    def _publish(self, name: str, limit: int, others: bool) -> int:
        """One batch: at most `limit` jobs are queued, and their orders published."""
        started = time.monotonic()
        if name not in self._declared:  # of an environment
            broker.declare(self._connection, name)
            self._declared.add(name)
        queued = states.queue(ids := self._turns.next(name, limit))
        unpublished = set(queued)
        try:
            built = orders.build((id for id in ids if id in queued), others)
            messages = [(name, wire.encode(order)) for _, order in built]
            broker.publish_all(
                self._connection, messages, lambda position: unpublished.discard(built[position][0].pk)
            )
        finally:
            if unpublished:
                states.give_back(Job.objects.filter(pk__in=unpublished))
        if built:
            metrics.count_batch("dispatch", len(built), [time.monotonic() - started])
            logger.info("dispatched %d jobs to %s", len(built), name)
        return len(built)


def _room(queue: str, slots: int) -> int:
    """How many more orders the queue may hold: as many as slots are free, and a short buffer."""
    if not slots:
        return 0
    mean = waiting.mean_seconds(queue)
    buffer = 1 if mean is None else math.ceil(slots * min(_MAX_BUFFER, _BUFFER / max(mean, 1e-3)))
    return max(0, slots + buffer - fairness.number_in_flight(queue))


def _cancelled() -> list[Told]:
    """Running jobs that are to end: told again each round until their runner confirms it."""
    jobs = Job.objects.filter(state=JobState.RUNNING, cancel_requested=True).exclude(runner="")
    return [
        Told(job.runner, Stop(job=str(job.pk), attempt=job.attempt, why="It was cancelled."))
        for job in jobs.only("pk", "attempt", "runner")
    ]


def tell(connection: Connection, told: Iterable[Told]) -> None:
    """Sends each runner what it must stop. One that has no control queue any more is gone, and told nothing."""
    messages = [(queues.control(runner), wire.encode(stop)) for runner, stop in told]
    possible = [(name, body) for name, body in messages if len(name.encode()) <= _LONGEST_NAME]
    broker.publish_all(connection, possible, mandatory=False)
