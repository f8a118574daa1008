"""A scheduler that can't hear condemns nobody: leases count only once all that runners said has been collected."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from kombu import Connection

from datarun.broker import connection as broker
from datarun.contract import queues, wire
from datarun.contract.messages import Heartbeat, Ping
from datarun.contract.states import JobState
from runapp import states
from runapp.models import PreparedData
from runapp.scheduler import reap
from runapp.scheduler.collect import Collector, Hearing
from runapp.scheduler.loops import Scheduler
from runapp.services import results
from tests.integration.helpers import PATIENCE
from tests.integration.jobs import (
    claim,
    fold,
    folds,
    job_of,
    later,
    outcome,
    prepared,
    queued,
    running,
    state_of,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def version() -> PreparedData:
    return prepared()


@pytest.fixture
def connection(broker_url: str) -> Iterator[Connection]:
    with broker.connect(broker_url) as opened:
        broker.declare_all(opened)
        yield opened


def collect_until(collector: Collector, happened: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < until
        collector.run_once(timeout=0.1)


# --- what hearing is -----------------------------------------------------------------------------------


def test_it_hears_once_its_pings_came_back_by_every_queue(connection: Connection) -> None:
    hearing = Hearing()
    collector = Collector(connection, hearing)
    assert hearing.seconds() == 0
    collect_until(collector, lambda: hearing.seconds(queues.EVENTS))
    assert hearing.seconds() == 0, "the results may hold a backlog"
    collect_until(collector, hearing.seconds)


def test_who_comes_second_hears_nothing_and_takes_over_when_the_first_goes(
    broker_url: str, connection: Connection
) -> None:
    """The broker gives messages to one scheduler at a time."""
    first, second = Hearing(), Hearing()
    with broker.connect(broker_url) as other:
        one = Collector(other, first)
        collect_until(one, first.seconds)
        stand_by = Collector(connection, second)
        for _ in range(3):
            stand_by.run_once(timeout=0.1)
            one.run_once(timeout=0.1)
        assert (second.seconds(), first.seconds() > 0) == (0, True)
    collect_until(stand_by, second.seconds)


def test_a_new_connection_starts_to_hear_anew(connection: Connection) -> None:
    hearing = Hearing()
    collect_until(Collector(connection, hearing), hearing.seconds)
    hearing.restart()
    assert hearing.seconds() == 0


def test_a_ping_from_a_backlog_proves_nothing() -> None:
    hearing = Hearing()
    for queue in queues.COLLECTED:
        ping = hearing.ping(queue)
        hearing.heard(Ping(ping.sender, ping.number - 10_000))
    assert hearing.seconds() == 0
    for queue in queues.COLLECTED:
        hearing.heard(hearing.ping(queue))
    assert hearing.seconds() > 0


def test_pings_of_another_or_of_one_queue_prove_nothing() -> None:
    hearing, other = Hearing(), Hearing()
    for queue in queues.COLLECTED:
        hearing.heard(other.ping(queue))
        hearing.heard(hearing.ping(queues.EVENTS))
    assert hearing.seconds() == 0


# --- what the reaper does without ----------------------------------------------------------------------


def test_while_it_hears_nothing_no_fold_in_flight_is_given_up(version: PreparedData) -> None:
    """However long the broker is away: its runner may live, and its outcome counts."""
    runs, in_broker = fold(version), fold(version)
    queued(in_broker)
    running(runs)
    for _ in range(5):
        later(hours=1)
        assert reap.run_once(hearing=False) == 0
    assert [state_of(runs), state_of(in_broker)] == [JobState.RUNNING, JobState.QUEUED]
    results.record([claim(in_broker), outcome(in_broker), outcome(runs)])
    assert [state_of(runs), state_of(in_broker)] == [JobState.SUCCEEDED] * 2


def test_what_only_waits_is_given_up_all_the_same(version: PreparedData) -> None:
    """Whether it may wait longer depends on no runner."""
    one = fold(version)
    later(days=31)
    assert reap.run_once(hearing=False) == 1
    assert state_of(one) == JobState.FAILED


# --- a whole scheduler ---------------------------------------------------------------------------------


@contextmanager
def scheduling(broker_url: str) -> Iterator[Scheduler]:
    scheduler = Scheduler(broker_url)
    thread = threading.Thread(target=scheduler.run)
    thread.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.mark.django_db(transaction=True)
def test_after_an_outage_it_hears_first_and_reaps_then(
    broker_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folds whose leases ran out meanwhile go on if their runner lives, and are tried again if not."""
    monkeypatch.setattr(states, "LEASE", timedelta(seconds=2))
    version = prepared()
    lives, is_dead = folds(version, 2)
    running(lives, "runner-1")
    running(is_dead, "runner-2")
    later(hours=1)
    says = wire.encode(Heartbeat("runner-1", (queues.LIGHT,), 1, {str(lives.job_id): 1}, {}))
    heard_for: list[float] = []

    with scheduling(broker_url) as scheduler:
        reaps = reap.run_once

        def look(hearing: bool) -> int:
            heard_for.extend([scheduler._hearing.seconds()] * hearing)
            return reaps(hearing)

        monkeypatch.setattr(reap, "run_once", look)
        until = time.monotonic() + PATIENCE
        while state_of(is_dead) == JobState.RUNNING:
            broker.publish(connection, queues.EVENTS, says)
            assert time.monotonic() < until
            time.sleep(0.1)
        assert state_of(lives) == JobState.RUNNING
        assert job_of(is_dead).losses == 1
    assert min(heard_for) >= 2
