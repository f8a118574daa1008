"""The reaper: every state has a deadline; what outlives it is tried again, or ends with its reason."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now
from pytest_django import Settings

from datarun.contract.states import JobState
from runapp import states
from runapp.models import Attempt, Job, PreparedData, SubmissionFold
from runapp.scheduler import reap
from runapp.services import jobs, lease, orders, raw_data, results
from tests.integration.jobs import (
    RUNNER,
    claim,
    data_set,
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
    user,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def version() -> PreparedData:
    return prepared()


def in_state(version: PreparedData, state: str) -> SubmissionFold:
    one = fold(version)
    if state == JobState.QUEUED:
        queued(one)
    elif state == JobState.RUNNING:
        running(one)
    return one


def reaped() -> int:
    return reap.run_once(hearing=True)


def lose(one: SubmissionFold, runner: str = RUNNER) -> None:
    """A runner takes the fold, after the pause, and is never heard of again."""
    later(minutes=5)
    running(one, runner)
    later(seconds=13)
    assert reaped() == 1


# --- deadlines -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", states.UNFINISHED)
def test_what_is_within_its_deadline_is_left_alone(version: PreparedData, state: str) -> None:
    one = in_state(version, state)
    live()
    assert reaped() == 0
    assert state_of(one) == state


@pytest.mark.parametrize("state", states.UNFINISHED)
def test_every_state_has_a_deadline_that_is_enforced(version: PreparedData, state: str) -> None:
    """Wherever a job stands, once nobody does anything for it, it is seen to within a month."""
    one = in_state(version, state)
    later(days=31)
    live("runner-2")
    assert reaped() == 1
    assert (state_of(one), job_of(one).attempt) != (state, 0)
    assert job_of(one).deadline is None or job_of(one).state == JobState.CREATED


def test_a_fold_that_waits_for_a_month_ends_and_says_what_it_waited_for(version: PreparedData) -> None:
    one = fold(version, queue="H")
    later(days=29)
    assert reaped() == 0
    later(days=2)
    lease.hold("scheduler")
    assert reaped() == 1
    job = job_of(one)
    assert (job.state, job.failure) == (JobState.FAILED, "environment")
    assert job.message.startswith("It has waited for too long. No live runner serves queue H.")


def test_a_fold_whose_data_nobody_splits_ends_too() -> None:
    one = fold(data_set())
    later(days=31)
    assert reaped() == 1
    assert (state_of(one), job_of(one).waits_for_data) == (JobState.FAILED, False)
    assert "has not been split yet" in job_of(one).message


# --- a silent runner -----------------------------------------------------------------------------------


def test_the_fold_of_a_runner_that_falls_silent_is_tried_again_on_another(version: PreparedData) -> None:
    one = fold(version)
    running(one)
    later(seconds=11)
    assert reaped() == 0, "its lease goes on"
    later(seconds=2)
    assert reaped() == 1
    job = job_of(one)
    assert (job.state, job.losses) == (JobState.CREATED, 1)
    assert Job.objects.filter(pk=job.pk, not_before__gt=Now()).exists(), "after a pause"
    (attempt,) = Attempt.objects.all()
    assert (attempt.number, attempt.runner, attempt.failure) == (1, RUNNER, "lost")
    assert attempt.message == f"Runner {RUNNER} has not been heard of for 12 s."

    queued(one)
    ((_, order),) = orders.build([one.job_id], others=True)
    assert (order.attempt, order.avoid) == (2, RUNNER)
    results.record([claim(one, "runner-2"), outcome(one, "runner-2")])
    assert state_of(one) == JobState.SUCCEEDED


def test_a_runner_is_found_dead_within_fifteen_seconds(version: PreparedData) -> None:
    one = fold(version)
    running(one)
    live(running={str(one.job_id): 1})
    later(seconds=15)
    assert reaped() == 1


def test_a_runner_that_is_heard_of_keeps_its_fold_for_ever(version: PreparedData) -> None:
    one = fold(version)
    running(one)
    for _ in range(20):
        later(seconds=8)
        live(running={str(one.job_id): 1})
        assert reaped() == 0
    assert state_of(one) == JobState.RUNNING


def test_after_three_losses_it_ends_as_lost_and_nobody_is_blamed(version: PreparedData) -> None:
    """A fold that takes whole runners down is stopped."""
    one = fold(version)
    for number in range(3):
        assert state_of(one) == JobState.CREATED
        lose(one, f"runner-{number}")
    job = job_of(one)
    assert (job.state, job.failure, job.attempt) == (JobState.FAILED, "lost", 3)
    assert job.message == (
        "Runner runner-2 has not been heard of for 12 s.\n"
        "It is not tried again: 3 attempts were lost or failed for such reasons."
    )
    runners = [row["runner"] for row in jobs.attempts(job)]
    assert runners == ["runner-0", "runner-1", "runner-2"]


def test_a_fold_that_its_runner_never_ends_is_taken_from_it(
    version: PreparedData, settings: Settings
) -> None:
    settings.FOLD_TIME_LIMIT = 600
    one = fold(version)
    running(one)
    later(minutes=75)
    live(running={str(one.job_id): 1})
    assert reaped() == 0, "it may load the data for so long, and then run"
    later(minutes=10)
    live(running={str(one.job_id): 1})
    assert reaped() == 1
    assert state_of(one) == JobState.CREATED
    (attempt,) = Attempt.objects.all()
    assert (
        attempt.message
        == f"Runner {RUNNER} does not end it: it has run for 1:20:00, whatever its time limit."
    )
    (told,) = live(running={str(one.job_id): 1})
    assert (told.runner, told.stop.job) == (RUNNER, str(one.job_id))


def test_of_two_reapers_one_counts_the_loss(version: PreparedData) -> None:
    one = fold(version)
    running(one)
    later(seconds=13)
    seen_by_another = job_of(one)
    assert reaped() == 1
    assert not results.lose({seen_by_another: "It fell silent."})
    assert job_of(one).losses == 1


def test_a_cancelled_fold_of_a_silent_runner_ends_as_cancelled(version: PreparedData) -> None:
    one = fold(version)
    running(one)
    jobs.cancel(SubmissionFold.objects.all())
    later(seconds=13)
    assert reaped() == 1
    assert state_of(one) == JobState.CANCELLED


def test_a_silent_runner_costs_other_runners_nothing(version: PreparedData) -> None:
    silent, heard = folds(version, 2)
    running(silent, "runner-1")
    running(heard, "runner-2")
    later(seconds=13)
    live("runner-2", running={str(heard.job_id): 1})
    assert reaped() == 1
    assert [state_of(silent), state_of(heard)] == [JobState.CREATED, JobState.RUNNING]


# --- preparations --------------------------------------------------------------------------------------


def test_a_preparation_that_never_answers_is_tried_again_and_then_fails_its_folds() -> None:
    posted = data_set()
    one = fold(posted)
    task = raw_data.split(user(), posted.pk, 0.2, 42).job_id
    for attempt in (1, 2, 3):
        later(minutes=5)
        assert states.queue([task]) == {task}
        results.record([results.Claim(str(task), attempt, RUNNER)])
        assert reaped() == 0
        assert state_of(one) == JobState.CREATED
        later(seconds=13)
        assert reaped() == 1
    assert Job.objects.get(pk=task).state == JobState.FAILED
    job = job_of(one)
    assert (job.state, job.failure) == (JobState.FAILED, "data")
    assert job.message.startswith(
        f"The data set flowers could not be prepared.\nRunner {RUNNER} has not been heard of for 12 s."
    )


def test_a_preparation_that_nobody_takes_fails_its_folds_in_the_end() -> None:
    posted = data_set()
    one = fold(posted)
    raw_data.split(user(), posted.pk, 0.2, 42)
    later(days=31)
    Job.objects.filter(pk=one.job_id).update(deadline=Now() + timedelta(days=1))
    lease.hold("scheduler")
    assert reaped() == 1
    job = job_of(one)
    assert (job.state, job.failure) == (JobState.FAILED, "data")
    assert "It has waited for too long. No live runner serves queue celery." in job.message
