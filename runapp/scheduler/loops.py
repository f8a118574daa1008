"""The scheduler's loops: each duty in a thread of its own, woken by what happens, else by a short period."""

import logging
import os
import platform
import select
import threading
import time
import uuid
from collections.abc import Callable

import psycopg2
from django.conf import settings
from django.db import close_old_connections, connection
from django.db.utils import DatabaseError, InterfaceError
from kombu import Connection

from datarun.broker import connection as broker
from runapp import states
from runapp.services import lease, retention, waiting, wakeup

from . import dispatch, reap
from .collect import Collector, Hearing

logger = logging.getLogger(__name__)

_RETRY = 1.0  # seconds until a loop tries again after an error
_PACE = 0.4  # seconds between the beginnings of two rounds of dispatch while jobs wait for slots
_TIDY = 60.0  # seconds between two looks at what waits and what is old
_RENEW = lease.LENGTH.total_seconds() / 4


class Scheduler:
    """Runs dispatch, collect and reap until told to stop.

    Of several schedulers, the one with the lease dispatches; the broker gives what is to be collected to one at
    a time, which reaps what it does not hear of.
    """

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url
        self._name = f"{platform.node()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._stopping = threading.Event()
        self._work = threading.Event()  # something to dispatch
        self._hearing = Hearing()
        self._active_until = 0.0
        self._behind = False  # whether jobs wait for slots
        self._reaches_broker = threading.Event()

    def run(self) -> None:
        """Starts the loops; returns once `stop` was called and they have ended."""
        duties = (self._hold_lease, self._listen, self._dispatch, self._collect, self._reap, self._tidy)
        threads = [
            threading.Thread(target=self._loop, args=(duty,), name=duty.__name__[1:]) for duty in duties
        ]
        for thread in threads:
            thread.start()
        logger.info("scheduler ready")
        for thread in threads:
            thread.join()

    def stop(self) -> None:
        self._stopping.set()
        self._work.set()

    def _loop(self, duty: Callable[[], None]) -> None:
        """Runs `duty`, again after an outage of the broker or the database, until it is time to stop."""
        name = duty.__name__[1:]
        while not self._stopping.is_set():
            try:
                duty()
            except (*broker.BrokerError, DatabaseError, InterfaceError, psycopg2.Error) as error:
                logger.warning("%s: %s; trying again", name, str(error).strip() or repr(error))
                self._stopping.wait(_RETRY)
            except Exception:
                # A defect of ours: say so and go on, rather than let every job wait for ever.
                logger.exception("%s failed; trying again", name)
                self._stopping.wait(_RETRY)
            finally:
                connection.close()

    @property
    def _active(self) -> bool:
        return time.monotonic() < self._active_until

    def _hold_lease(self) -> None:
        try:
            while not self._stopping.is_set():
                # Without the broker there is nothing to do with the lease: another scheduler may be better off.
                if not self._reaches_broker.wait(_RENEW):
                    continue
                asked = time.monotonic()
                if lease.hold(self._name):
                    if not self._active:
                        logger.info("this scheduler works now")
                        self._work.set()
                    self._active_until = asked + lease.LENGTH.total_seconds()
                self._stopping.wait(_RENEW)
                close_old_connections()
        finally:
            if self._stopping.is_set():
                lease.release(self._name)

    def _listen(self) -> None:
        """Wakes dispatch when the web has committed something to do."""
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {wakeup.CHANNEL}")
        raw = connection.connection
        while not self._stopping.is_set():
            if select.select([raw], [], [], 0.5)[0]:
                raw.poll()
                raw.notifies.clear()
                self._work.set()

    def _dispatch(self) -> None:
        with broker.connect(self._broker_url) as broker_connection:
            broker.declare_all(broker_connection)
            dispatcher = dispatch.Dispatcher(broker_connection)
            self._reaches_broker.set()
            try:
                while not self._stopping.is_set():
                    self._work.clear()
                    begun = time.monotonic()
                    if self._active:
                        dispatcher.run_once()
                        self._behind = dispatcher.behind
                    self._wait(broker_connection)
                    # Where folds are short, each that ends makes work: a round for several costs as much as for one.
                    if self._behind:
                        self._stopping.wait(begun + _PACE - time.monotonic())
                    close_old_connections()
            finally:
                self._reaches_broker.clear()

    def _wait(self, broker_connection: Connection) -> None:
        """Waits for work, at most a period, answering the broker's heartbeats meanwhile."""
        until = time.monotonic() + settings.SCHEDULER_PERIOD
        while not self._work.is_set() and (left := until - time.monotonic()) > 0:
            self._work.wait(min(left, broker.HEARTBEAT / 4))
            broker.keep_alive(broker_connection)

    def _collect(self) -> None:
        with broker.connect(self._broker_url) as broker_connection:
            broker.declare_all(broker_connection)
            collector = Collector(broker_connection, self._hearing, lambda: self._behind)
            while not self._stopping.is_set():
                collector.run_once(timeout=0.5)
                close_old_connections()

    def _tidy(self) -> None:
        """Says in the log why jobs wait, and removes what has been kept for long enough."""
        while not self._stopping.wait(_TIDY):
            if self._active:
                for sentence in waiting.summary():
                    logger.info("%s", sentence)
                retention.clean()
            close_old_connections()

    def _reap(self) -> None:
        lease_length = states.LEASE.total_seconds()
        while not self._stopping.wait(min(settings.SCHEDULER_PERIOD, lease_length / 10)):
            # Runners have had a whole lease to be heard in since this scheduler began to hear. It need not be the
            # one that dispatches: the broker gives the messages to whom it likes, or is away.
            reap.run_once(hearing=self._hearing.seconds() > lease_length)
            close_old_connections()
