"""Orders that vanish from the broker are found, however busy slots are; those that wait are left alone."""

import pytest

from datarun.contract import queues
from datarun.contract.states import JobState
from runapp.models import PreparedData, SubmissionFold
from runapp.scheduler import reap
from runapp.services import results
from tests.integration.jobs import (
    claim,
    fold,
    folds,
    job_of,
    later,
    live,
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


def runs(one: SubmissionFold, seconds: float) -> None:
    """The only slot takes the fold and ends it after so many seconds; all of that is heard at once."""
    running(one)
    later(seconds=seconds)
    live()
    results.record([outcome(one)])


def test_an_order_that_vanished_is_found_while_short_jobs_keep_every_slot_busy(version: PreparedData) -> None:
    live()
    vanished = fold(version)
    queued(vanished)
    for short in folds(version, 17):
        runs(short, seconds=1)
        reap.run_once(hearing=True)
    assert state_of(vanished) == JobState.CREATED
    assert job_of(vanished).losses == 0, "nobody had it"


def test_an_order_that_vanished_is_found_while_a_long_job_of_a_later_order_runs(
    version: PreparedData,
) -> None:
    live()
    vanished, short, long = folds(version, 3)
    queued(vanished)
    runs(short, seconds=4)
    running(long)
    later(seconds=12)
    live(running={str(long.job_id): 1})
    reap.run_once(hearing=True)
    assert state_of(vanished) == JobState.CREATED


def test_an_order_that_vanished_is_found_when_slots_are_free(version: PreparedData) -> None:
    live()
    vanished = fold(version)
    queued(vanished)
    later(seconds=16)
    live()
    reap.run_once(hearing=True)
    assert state_of(vanished) == JobState.CREATED


def test_an_order_waits_as_long_as_earlier_ones_keep_the_slots_busy(version: PreparedData) -> None:
    live()
    long, waiting = folds(version, 2)
    running(long)
    queued(waiting)
    for _ in range(4):
        later(minutes=10)
        live(running={str(long.job_id): 1})
        reap.run_once(hearing=True)
        assert state_of(waiting) == JobState.QUEUED


def test_an_order_is_not_lost_because_a_later_one_was_faster_by_a_moment(version: PreparedData) -> None:
    """Both had waited for the same slots: the claim of the earlier one is on its way."""
    live(slots=2)
    *long, waiting, faster = folds(version, 4)
    for one in long:
        running(one)
    queued(waiting)
    queued(faster)
    later(seconds=16)
    live(slots=2, running={str(one.job_id): 1 for one in long})
    results.record([outcome(one) for one in long])
    results.record([claim(faster)])
    reap.run_once(hearing=True)
    assert state_of(waiting) == JobState.QUEUED


def test_work_of_another_queue_says_nothing_about_an_order(version: PreparedData) -> None:
    live("light", serves=[queues.LIGHT])
    live("heavy", serves=[queues.HEAVY])
    long, waiting = folds(version, 2, queue=queues.HEAVY)
    running(long, "heavy")
    queued(waiting)
    for short in folds(version, 17):
        running(short, "light")
        later(seconds=1)
        live("light", serves=[queues.LIGHT])
        live("heavy", serves=[queues.HEAVY], running={str(long.job_id): 1})
        results.record([outcome(short, "light")])
        reap.run_once(hearing=True)
    assert state_of(waiting) == JobState.QUEUED
