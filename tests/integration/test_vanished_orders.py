"""Orders that vanish from the broker are found within the sweep, and none is given up that only waits."""

import pytest

from datarun.contract import queues
from datarun.contract.states import JobState
from runapp import states
from runapp.models import Job, PreparedData, SubmissionFold
from runapp.scheduler import reap
from runapp.services import raw_data, results
from tests.integration.jobs import (
    claim,
    data_set,
    fold,
    folds,
    job_of,
    later,
    live,
    outcome,
    overdue,
    prepared,
    queued,
    running,
    state_of,
    user,
)

pytestmark = pytest.mark.django_db

L, H, PREPARATION = queues.LIGHT, queues.HEAVY, queues.PREPARATION


@pytest.fixture
def version() -> PreparedData:
    return prepared()


def sweep(*heard: str, seconds: float = 16) -> int:
    """Some time after, while these runners are heard of, the reaper comes; how many it gives up."""
    later(seconds=seconds)
    for name in heard:
        live(name, running=_running(name))
    return reap.run_once(hearing=True)


def _running(name: str) -> dict[str, int]:
    mine = Job.objects.filter(state=JobState.RUNNING, runner=name)
    return {str(id): attempt for id, attempt in mine.values_list("pk", "attempt")}


# --- lost ----------------------------------------------------------------------------------------------


def test_an_order_that_a_free_slot_does_not_take_is_lost_and_made_again(version: PreparedData) -> None:
    one = fold(version)
    live("runner-1")
    queued(one)
    assert sweep("runner-1", seconds=14) == 0
    assert sweep("runner-1", seconds=2) == 1
    job = job_of(one)
    assert (job.state, job.attempt, job.losses) == (JobState.CREATED, 1, 0), "it says nothing about the fold"
    assert job.earlier.get().message == "Its order vanished from queue L."
    later(minutes=1)
    queued(one)
    results.record([claim(one), outcome(one)])
    assert state_of(one) == JobState.SUCCEEDED


def test_an_order_that_later_ones_overtake_is_lost_though_all_slots_are_busy(version: PreparedData) -> None:
    one = fold(version)
    live("runner-1")
    queued(one)
    later(seconds=10)
    other = fold(version)
    queued(other)
    later(seconds=4)
    results.record([claim(other, "runner-1")])
    assert sweep("runner-1") == 1
    assert [state_of(one), state_of(other)] == [JobState.CREATED, JobState.RUNNING]


def test_an_order_that_vanishes_again_and_again_never_ends_the_fold(version: PreparedData) -> None:
    one = fold(version)
    for _ in range(6):
        later(minutes=5)
        live("runner-1")
        queued(one)
        assert sweep("runner-1") == 1
    assert (state_of(one), job_of(one).losses) == (JobState.CREATED, 0)


def test_the_vanished_order_of_a_preparation_is_made_again() -> None:
    posted = data_set()
    one = fold(posted)
    task = raw_data.split(user(), posted.pk, 0.2, 42).job_id
    live("runner-1")
    assert states.queue([task])
    assert sweep("runner-1") == 1
    assert Job.objects.get(pk=task).state == JobState.CREATED
    assert (state_of(one), job_of(one).waits_for_data) == (JobState.CREATED, True)


# --- not lost ------------------------------------------------------------------------------------------


def test_a_light_order_waits_for_as_long_as_heavy_folds_fill_the_slots(version: PreparedData) -> None:
    live("runner-1", slots=2)
    for one in folds(version, 2, queue=H):
        running(one, "runner-1")
    light = fold(version)
    queued(light)
    for _ in range(10):
        assert _sweep_two_slots() == 0
    assert state_of(light) == JobState.QUEUED
    _end(H)
    assert _sweep_two_slots() == 1, "now a slot was free, and did not take it"


def _sweep_two_slots() -> int:
    later(seconds=16)
    live("runner-1", slots=2, running=_running("runner-1"))
    return reap.run_once(hearing=True)


def _end(queue: str) -> None:
    """One of the folds that run ends."""
    one = SubmissionFold.objects.filter(job__state=JobState.RUNNING, job__queue=queue).first()
    assert one is not None
    results.record([outcome(one)])


def test_an_order_that_others_of_its_queue_keep_waiting_is_not_lost(version: PreparedData) -> None:
    """The first to come is the first to be taken, but for a moment."""
    live("runner-1")
    first, second = folds(version, 2)
    queued(first)
    results.record([claim(first, "runner-1")])
    queued(second)
    for _ in range(10):
        assert sweep("runner-1") == 0
    results.record([outcome(first, "runner-1"), claim(second, "runner-1")])
    assert state_of(second) == JobState.RUNNING


def test_a_slot_that_has_just_got_free_has_not_seen_every_order(version: PreparedData) -> None:
    live("runner-1")
    first, second = folds(version, 2)
    queued(first)
    results.record([claim(first, "runner-1")])
    queued(second)
    later(seconds=16)
    live("runner-1")
    results.record([outcome(first, "runner-1")])
    assert reap.run_once(hearing=True) == 0
    assert state_of(second) == JobState.QUEUED


def test_without_a_runner_that_serves_the_queue_its_orders_wait(version: PreparedData) -> None:
    one = fold(version, queue=H)
    queued(one)
    live("runner-1", serves=[L])
    for _ in range(3):
        later(seconds=16)
        live("runner-1", serves=[L])
        assert reap.run_once(hearing=True) == 0
    assert state_of(one) == JobState.QUEUED


@pytest.mark.parametrize("was_lost", [True, False])
def test_an_order_that_its_last_runner_leaves_to_others_is_given_time(
    version: PreparedData, was_lost: bool
) -> None:
    """A runner puts back for some seconds what it has lost before, whether or not there are others."""
    one, other = folds(version, 2)
    if was_lost:
        running(one, "runner-1")
        overdue(one.job_id)
        assert reap.run_once(hearing=True) == 1
    later(minutes=1)
    live("runner-1")
    running(other, "runner-1")
    queued(one)
    later(seconds=10)
    results.record([outcome(other, "runner-1")])
    assert sweep("runner-1", seconds=7) == (not was_lost)


def test_a_runner_that_takes_an_order_given_up_works_for_nothing(version: PreparedData) -> None:
    """The order was in the queue after all: the fold does not run twice into the results."""
    one = fold(version)
    live("runner-1")
    queued(one)
    late = claim(one, "runner-1")
    assert sweep("runner-1") == 1
    (told,) = results.record([late])
    assert (told.runner, told.stop.job, told.stop.attempt) == ("runner-1", str(one.job_id), 1)
    assert state_of(one) == JobState.CREATED
