"""A slot: takes one order at a time, runs it, reports. One thread, one broker connection of its own.

Take, claim, run, report. The job runs while the broker confirms the claim, and the order is acknowledged as soon as it
has: no message is held unacknowledged for longer, and nothing is reported of a job whose claim is not confirmed. A slot
subscribes to its queues only while it is free, so that a waiting order never sits behind a running one.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle, islice
from typing import get_args

from kombu import Connection, Message

from datarun import logs
from datarun.broker import connection as broker
from datarun.contract import messages, queues, wire
from datarun.contract.messages import Claim, HandedBack, Order, Outcome, Result, StageReached

from .events import EventSender
from .executors import Executor
from .logs import LogStream
from .sandbox.run import Interrupt, Watcher

logger = logging.getLogger(__name__)

_RETRY = 1.0  # seconds until a lost connection is tried again
_WAIT = 0.5  # seconds between two looks at whether to stop
_EMPTY = 0.2  # seconds that a queue which was empty is passed over, while others have orders
_LOOK = 2.0  # seconds between two looks for queues that are absent
_PATIENCE = 0.5  # seconds until the master is told how far a fold is
_AVOID = 1.0  # seconds that an order which this runner should avoid is left to others
_AVOID_TIMES = 10  # then nobody else takes it
_INCOMPATIBLE = 10.0  # seconds that a slot keeps an order of another version to itself


class TakenOrders:
    """The latest orders that this runner took: one that is delivered again, to any slot, runs once."""

    _MOST = 10_000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: dict[tuple[str, int], None] = {}

    def add(self, job: str, attempt: int) -> bool:
        """Remembers the order; returns whether it is new."""
        with self._lock:
            if (job, attempt) in self._orders:
                return False
            self._orders[job, attempt] = None
            if len(self._orders) > self._MOST:
                del self._orders[next(iter(self._orders))]
            return True

    def remove(self, job: str, attempt: int) -> None:
        """Forgets the order: it comes again."""
        with self._lock:
            self._orders.pop((job, attempt), None)


class Slot:
    """Serves `queue_names` until `stopping` is set; then the running job has `grace` seconds left."""

    def __init__(
        self,
        runner: str,
        broker_url: str,
        queue_names: Sequence[str],
        executor: Executor,
        taken: TakenOrders,
        events: EventSender,
        stopping: threading.Event,
        grace: float,
    ) -> None:
        self._runner, self._broker_url, self._all_queues = runner, broker_url, queue_names
        self._empty_until: dict[str, float] = {}
        self._forget_queues()
        self._executor, self._taken, self._events = executor, taken, events
        self._stopping, self._grace = stopping, grace
        # What is still to be said of jobs that have ended.
        self._undelivered: list[Result] = []
        # Whether the last order was there when it was looked for: then the next one may be, too.
        self._is_busy = False
        self._avoided: Counter[str] = Counter()
        #: The order that runs now, and the attempt that is to be stopped.
        self.order: Order | None = None
        self._unwanted: tuple[str, int] | None = None
        # Awaits the broker's confirm of a claim, and acknowledges its order, while the job runs already.
        self._confirmer = ThreadPoolExecutor(1, thread_name_prefix="claims")
        self._claimed: Future[None] | None = None
        #: Whether it takes orders, or runs one: otherwise the master must not count on it.
        self.serving = True
        self._suspended_until = float("-inf")
        # By then the master has answered the first heartbeats, should this runner not suit it.
        self._suits_from = time.monotonic() + _INCOMPATIBLE

    def serve(self) -> None:
        """Takes orders until it is time to stop; connects again when the broker was away."""
        with logs.about(runner=self._runner):
            self._serve_always()

    def _serve_always(self) -> None:
        while not self._stopping.is_set() or self._undelivered:
            try:
                with broker.connect(self._broker_url) as connection:
                    self._serve(connection)
            except broker.BrokerError as error:
                logger.warning("broker: %s; trying again", error)
                self._pause()
            except Exception:
                # A client library that stumbles over a collapsing connection must not cost the runner a slot.
                logger.exception("a slot failed; trying again")
                self._pause()

    def _pause(self) -> None:
        if self._stopping.wait(_RETRY) and self._undelivered:
            time.sleep(_RETRY)

    def stop(self, job: str, attempt: int) -> None:
        """Ends this attempt, if it runs here; called from another thread."""
        if self.order is not None and (self.order.job, self.order.attempt) == (job, attempt):
            self._unwanted = (job, attempt)

    def suspend(self, seconds: float) -> None:
        """Has it take no order for so long; called from another thread."""
        self._suspended_until = time.monotonic() + seconds

    @property
    def _takes_orders(self) -> bool:
        return not self._stopping.is_set() and time.monotonic() > self._suspended_until

    def _serve(self, connection: Connection) -> None:
        """Serves until it is time to stop, or a job ran for so long that the broker gave the connection up."""
        self._forget_queues()
        self._deliver(connection)
        while not self._stopping.is_set():
            message = self._take(connection)
            if message is None:
                break
            started = time.monotonic()
            self._handle(connection, message)
            if time.monotonic() - started > broker.HEARTBEAT:
                return
            if not self._is_busy:
                self._deliver(connection)
        self._deliver(connection)

    def _take(self, connection: Connection) -> Message | None:
        """The next order, or None when it is time to stop."""
        while not self._stopping.is_set():
            if not self._takes_orders:
                self._deliver(connection)
                self._stopping.wait(_WAIT)
                broker.keep_alive(connection)
                continue
            self._look_for_queues(connection)
            # The queues in turn, so that none waits for as long as another has orders.
            for name in islice(self._turns, len(self._queue_names)):
                if time.monotonic() < self._empty_until[name]:
                    continue
                if (message := broker.get(connection.default_channel, name)) is not None:
                    self._is_busy = True
                    return message
                self._empty_until[name] = time.monotonic() + _EMPTY
            self._is_busy = False
            self._deliver(connection)
            message = self._wait_for_one(connection)
            self._empty_until = dict.fromkeys(self._all_queues, 0.0)
            if message is not None:
                return message
        return None

    def _forget_queues(self) -> None:
        """Those of environments are made by the master, once a data set wants one: until then they are absent."""
        self._absent = [name for name in self._all_queues if queues.parts(name)[1]]
        self._queue_names = [name for name in self._all_queues if name not in self._absent]
        self._turns, self._next_look = cycle(self._queue_names), float("-inf")
        self._empty_until = dict.fromkeys(self._all_queues, 0.0)

    def _look_for_queues(self, connection: Connection) -> None:
        if not self._is_time_to_look:
            return
        found = [name for name in self._absent if broker.exists(connection, name)]
        self._absent = [name for name in self._absent if name not in found]
        self._queue_names += found
        self._turns, self._next_look = cycle(self._queue_names), time.monotonic() + _LOOK

    @property
    def _is_time_to_look(self) -> bool:
        return bool(self._absent) and time.monotonic() > self._next_look

    def _wait_for_one(self, connection: Connection) -> Message | None:
        """The first order that comes to any of the queues, which are empty; or None when it is to take none."""
        inbox: list[Message] = []
        consumer = broker.consumer(connection.default_channel, self._queue_names, inbox.append, prefetch=1)
        consumer.consume()
        while not inbox and self._takes_orders and not self._is_time_to_look:
            try:
                connection.drain_events(timeout=_WAIT)
            except TimeoutError:
                broker.keep_alive(connection)
        consumer.cancel()
        # Each queue may have delivered one; this slot is free for one.
        taken = inbox.pop(0) if inbox and self._takes_orders else None
        for message in inbox:
            message.requeue()
        return taken

    def _handle(self, connection: Connection, message: Message) -> None:
        order = self._read(connection, message)
        if order is None or self._leave_to_others(connection, order, message):
            return
        if not self._taken.add(order.job, order.attempt):
            message.ack()  # delivered again, because an acknowledgement was lost
            return
        try:
            sent = self._send_claim(connection, order)
            self._claimed = self._confirmer.submit(_confirm, sent, message)
            result = self._run(order)
            self._claimed.result()
        except BaseException:
            # Nobody knows whether the claim holds: it is given back.
            self._taken.remove(order.job, order.attempt)
            self._undelivered.append(HandedBack(order.job, order.attempt, self._runner))
            raise
        # With the claim the broker has confirmed what was due before it.
        self._undelivered = [result]

    def _send_claim(self, connection: Connection, order: Order) -> broker.Sent:
        """Makes the order this runner's. What is due of the job before is said with it."""
        claim = Claim(order.job, order.attempt, self._runner)
        said: list[Result] = [*self._undelivered, claim]
        if self._undelivered and isinstance(last := self._undelivered[-1], Outcome):
            said[-2:] = [replace(last, next=claim)]
        return broker.send_report(connection, queues.RESULTS, *map(wire.encode, said))

    def _read(self, connection: Connection, message: Message) -> Order | None:
        try:
            order = wire.decode(broker.body_of(message))
            if not isinstance(order, messages.Order):
                raise wire.DecodeError(f"a {type(order).__name__} is no order")
        except wire.DecodeError as error:
            self._deliver(connection)
            if isinstance(error, wire.VersionError) and _is_order(error) and not self._was_left_behind(error):
                self._hold(connection, message, error)
            else:
                self._park(connection, message, error)
            return None
        return order

    def _hold(self, connection: Connection, message: Message, error: wire.VersionError) -> None:
        """Keeps an order of another version from the other slots for a while, then gives it back.

        By then the master has told a runner that does not suit it (`suspend`), and others take the order.
        """
        logger.error("%s: upgrade this runner, or the master", error)
        self.serving, until = False, time.monotonic() + _INCOMPATIBLE
        try:
            while time.monotonic() < until and self._takes_orders:
                self._stopping.wait(_WAIT)
                broker.keep_alive(connection)
            if self._was_left_behind(error):
                self._park(connection, message, error)
            else:
                message.requeue()
        finally:
            self.serving = True

    def _was_left_behind(self, error: wire.VersionError) -> bool:
        """Whether an earlier version of the master has sent it: this runner suits the present one."""
        suits = self._takes_orders and time.monotonic() > self._suits_from
        return suits and int(error.version) < messages.CONTRACT_VERSION

    def _park(self, connection: Connection, message: Message, why: wire.DecodeError) -> None:
        """Sets aside what is no order. If it should be one, the master finds it gone, and sends another."""
        body = broker.body_of(message)
        logger.warning("parked an order of %d bytes: %s", len(body), why)
        broker.report(connection, queues.PARKED, body)
        message.ack()

    def _leave_to_others(self, connection: Connection, order: Order, message: Message) -> bool:
        """Whether the order went back, because this runner failed it last and others may do better."""
        if order.avoid != self._runner or self._avoided[order.job] >= _AVOID_TIMES:
            del self._avoided[order.job]
            return False
        self._avoided[order.job] += 1
        message.requeue()
        self._deliver(connection)
        self._stopping.wait(_AVOID)
        return True

    def _run(self, order: Order) -> Result:
        about = dict(order.about) if isinstance(order, messages.FoldOrder) else {}
        what = " of ".join(f"{name} {id}" for name, id in about.items()) or "preparation"
        with logs.about(**about | {"job": order.job, "attempt": order.attempt}):
            logger.info("job %s, attempt %d: %s started", order.job, order.attempt, what)
            started = time.monotonic()
            self._unwanted, self.order = None, order
            try:
                watcher = _SlotWatcher(self._runner, order, self._events, self._interrupt)
                result = self._executor.run(order, self._runner, watcher)
            finally:
                self.order = None
            ended = (result.failure or "succeeded") if isinstance(result, Outcome) else type(result).__name__
            seconds = time.monotonic() - started
            text = "job %s, attempt %d: %s %s after %.2f s"
            logger.info(text, order.job, order.attempt, what, ended, seconds)
            return result

    _leave_at: float | None = None

    def _interrupt(self) -> Interrupt | None:
        """Whether the running job is to end now."""
        if self._unwanted is not None:
            return Interrupt.STOP
        if self._claimed is not None and self._claimed.done() and self._claimed.exception() is not None:
            return Interrupt.LEAVE
        if not self._stopping.is_set():
            return None
        self._leave_at = self._leave_at or time.monotonic() + self._grace
        return Interrupt.LEAVE if time.monotonic() > self._leave_at else None

    def _deliver(self, connection: Connection) -> None:
        """Publishes the results that are still due."""
        if self._undelivered:
            self._report(connection, *self._undelivered)

    def _report(self, connection: Connection, *results: Result) -> None:
        """Publishes results, what is due among them. That stays due until the broker has confirmed it."""
        broker.report(connection, queues.RESULTS, *map(wire.encode, results))
        self._undelivered.clear()


def _is_order(error: wire.VersionError) -> bool:
    """Whether it is an order that another version of this runner can read."""
    return error.version.isdecimal() and error.type in {order.__name__ for order in get_args(Order)}


def _confirm(sent: broker.Sent, message: Message) -> None:
    """Returns once the broker has the claim, whose order is acknowledged then; raises `BrokerError` if it has not."""
    sent.wait()
    try:
        message.ack()
    except broker.BrokerError as error:  # it comes again, to whom the claim is known
        logger.warning("broker: an order could not be acknowledged: %s", error)


class _SlotWatcher(Watcher):
    """Tells the master how far the job is and what it prints."""

    def __init__(
        self, runner: str, order: Order, events: EventSender, interrupt: Callable[[], Interrupt | None]
    ) -> None:
        self._runner, self._order, self._events, self._interrupt = runner, order, events, interrupt
        self._log = LogStream(order.job, order.attempt, runner)
        self._stage, self._told_at = "", time.monotonic() + _PATIENCE

    def stage(self, stage: str) -> None:
        self._stage = stage

    def output(self, chunk: bytes) -> None:
        self._log.add(chunk)

    def tick(self) -> Interrupt | None:
        # A fold that takes milliseconds has its outcome say how far it came.
        if self._stage and time.monotonic() > self._told_at:
            self._events.send(StageReached(self._order.job, self._order.attempt, self._runner, self._stage))
            self._stage, self._told_at = "", time.monotonic() + _PATIENCE
        if (piece := self._log.due()) is not None:
            self._events.send(piece)
        return self._interrupt()
