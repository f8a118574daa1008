"""What stands in place of Celery's consumer in a runner: starts the slots, sends heartbeats, stops them.

Celery calls `start` in the main thread, and `close` and `stop` when a signal asked the worker to end.
"""

import contextlib
import fcntl
import functools
import hashlib
import importlib.metadata
import logging
import os
import platform
import threading
import time
from pathlib import Path
from typing import Any

from celery.worker import state as worker_state

from datarun import __version__
from datarun.broker import connection as broker
from datarun.contract import queues, wire
from datarun.contract.messages import CONTRACT_VERSION, Heartbeat, Stop

from . import environments
from .app import settings
from .blobs import BlobStore
from .events import EventSender
from .executors.process import ProcessExecutor
from .sandbox.warm import remove
from .slot import Slot, TakenOrders

logger = logging.getLogger(__name__)

#: Seconds between two heartbeats; the master takes a runner for gone after three of them.
_PERIOD = 4.0
_SUSPENSION = (
    3 * _PERIOD
)  # seconds without orders after the master has said that this runner does not suit it
_LOOK = 0.2  # seconds between two looks at whether a signal came
_PACKAGES = ("numpy", "pandas", "scikit-learn")


class Consumer:
    """Implements what Celery's worker asks of its `worker_consumer`."""

    # Celery looks at these when it is told to stop at once.
    connection = task_consumer = None
    pool: Any = None

    def __init__(
        self,
        on_task_request: Any,
        *,
        hostname: str,
        pool: Any,
        app: Any,
        controller: Any,
        init_callback: Any = None,
        **_: Any,
    ) -> None:
        self._unprotected = controller.unprotected
        self._name, self._pool, self._controller, self._on_ready = hostname, pool, controller, init_callback
        self._environments = environments.read(settings.environments)
        served = sorted(app.amqp.queues.consume_from)
        self._queues = tuple(
            queues.in_environment(name, environment)
            for environment in ("", *self._environments)
            for name in served
        )
        self._stopping = threading.Event()
        blobs = BlobStore(settings.master_url, settings.token, settings.cache / hostname, self._stopping)
        threads = max(1, (os.cpu_count() or 1) // controller.concurrency)
        scratch = settings.scratch / hostname
        self._claim_name(scratch)
        remove(scratch)  # what a runner that was killed has left
        self._executor = ProcessExecutor(
            blobs,
            scratch,
            threads,
            time_limit=controller.time_limit,
            soft_time_limit=controller.soft_time_limit,
            name=hostname,
            spares=controller.concurrency,
            environments=self._environments,
        )
        taken, events = TakenOrders(), EventSender(settings.broker_url, self._stopping)
        events.start()
        self._slots = [
            Slot(
                hostname,
                settings.broker_url,
                self._queues,
                self._executor,
                taken,
                events,
                self._stopping,
                settings.grace,
            )
            for _ in range(controller.concurrency)
        ]

    def _claim_name(self, scratch: Path) -> None:
        """Two runners of one name would take each other's jobs for their own. The lock ends with the process."""
        scratch.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._name_lock = scratch.with_name(f"{scratch.name}.lock").open("w")
        try:
            fcntl.flock(self._name_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(
                f"datarun: a runner named {self._name} runs here already. Give this one another name with -n NAME@%h."
            ) from None

    def start(self) -> None:
        """Serves until a signal asks to stop: then Celery's own exception leaves this loop."""
        for slot in self._slots:
            self._pool.apply_async(slot.serve, callback=lambda result: None)
        if self._on_ready:
            self._on_ready(self)
        while True:
            try:
                with broker.connect(settings.broker_url) as connection:
                    self._control(connection)
            except broker.BrokerError as error:
                logger.warning("broker: %s; trying again", error)
                self._wait(1.0)

    def close(self) -> None:
        """Stops taking orders; running jobs get their grace."""
        self._stopping.set()

    stop = close

    def shutdown(self) -> None:
        """Once no slot works any more."""
        self._executor.close()

    def cancel_active_requests(self) -> None:
        """Celery's cold shutdown: the same, the grace is short."""
        self._stopping.set()

    def info(self) -> dict[str, Any]:
        return {"queues": self._queues}

    def _control(self, connection: Any) -> None:
        """Sends heartbeats and does what the control queue says, until a signal asks to stop."""
        name = queues.control(self._name)
        broker.queue(name)(connection.default_channel).declare()
        broker.consumer(connection.default_channel, [name], self._obey, prefetch=10).consume()
        while True:
            self._beat(connection, leaving=False)
            until = time.monotonic() + _PERIOD
            while time.monotonic() < until:
                try:
                    worker_state.maybe_shutdown()
                except SystemExit:
                    self._beat(connection, leaving=True)
                    raise
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=_LOOK)
            broker.keep_alive(connection)

    def _obey(self, message: Any) -> None:
        try:
            stop = wire.decode(broker.body_of(message))
        except wire.DecodeError as error:
            # So the master answers each heartbeat that it can't read.
            if isinstance(error, wire.VersionError) and error.type == Stop.__name__:
                text = "the master sent %s: no order is taken, upgrade this runner, or the master"
                logger.error(text, error)  # noqa: TRY400
                for slot in self._slots:
                    slot.suspend(_SUSPENSION)
            else:
                logger.warning("an order in the control queue can't be read: %s", error)
        else:
            if isinstance(stop, Stop):
                logger.info("job %s, attempt %d is to stop: %s", stop.job, stop.attempt, stop.why)
                for slot in self._slots:
                    slot.stop(stop.job, stop.attempt)
        message.ack()

    def _wait(self, seconds: float) -> None:
        """Waits; raises what ends the worker as soon as a signal asked for it."""
        for _ in range(round(seconds / _LOOK)):
            worker_state.maybe_shutdown()
            self._stopping.wait(_LOOK)

    def _beat(self, connection: Any, leaving: bool) -> None:
        heartbeat = Heartbeat(
            runner=self._name,
            queues=self._queues,
            slots=sum(slot.serving for slot in self._slots),
            running={order.job: order.attempt for slot in self._slots if (order := slot.order) is not None},
            versions=_versions(),
            unprotected=self._unprotected,
            leaving=leaving,
            environments={name: each.versions for name, each in self._environments.items()},
        )
        broker.report(connection, queues.EVENTS, wire.encode(heartbeat))


@functools.cache
def _versions() -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    every = sorted(f"{each.name}=={each.version}" for each in importlib.metadata.distributions())
    found["packages"] = hashlib.sha256("\n".join(every).encode()).hexdigest()[:12]  # of all, to be compared
    return found | {
        "datarun": __version__,
        "contract": str(CONTRACT_VERSION),
        "python": platform.python_version(),
    }
