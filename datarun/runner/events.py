"""Sends what a runner says on the way (stages, logs) in a thread of its own.

Events may be lost without harm, and nobody waits for them: a broker that hangs delays no time limit.
"""

import logging
import queue
import threading

from kombu import Connection

from datarun.broker import connection as broker
from datarun.contract import queues, wire
from datarun.contract.messages import Event

logger = logging.getLogger(__name__)

_MOST = 1000  # events that wait to be sent; more are dropped
_RETRY = 1.0  # seconds until a lost connection is tried again


class EventSender:
    """Publishes events in the order in which they were given, until `stopping` is set."""

    def __init__(self, broker_url: str, stopping: threading.Event) -> None:
        self._broker_url, self._stopping = broker_url, stopping
        self._waiting: queue.Queue[Event] = queue.Queue(_MOST)

    def start(self) -> None:
        threading.Thread(target=self._run, name="events", daemon=True).start()

    def send(self, event: Event) -> None:
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            logger.debug("dropped: %s", type(event).__name__)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with broker.connect(self._broker_url) as connection:
                    self._serve(connection)
            except broker.BrokerError as error:
                logger.debug("events: %s; trying again", error)
                self._stopping.wait(_RETRY)
            except Exception:
                logger.exception("events failed; trying again")
                self._stopping.wait(_RETRY)

    def _serve(self, connection: Connection) -> None:
        while not self._stopping.is_set():
            try:
                event = self._waiting.get(timeout=broker.HEARTBEAT / 4)
            except queue.Empty:
                broker.keep_alive(connection)
                continue
            broker.report(connection, queues.EVENTS, wire.encode(event))
