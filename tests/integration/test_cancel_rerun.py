"""Cancelling and running again, by API and services: nothing runs that nobody wants, and no history is lost."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import transaction

from datarun.contract.states import JobState
from runapp import states
from runapp.models import Job, LogPiece, Prediction, PreparedData, SubmissionFold
from runapp.services import jobs, raw_data, results
from tests.integration.helpers import PATIENCE, Api, accepted, in_thread, organiser
from tests.integration.jobs import (
    RUNNER,
    claim,
    data_set,
    fold,
    folds,
    handed_back,
    job_of,
    log_chunk,
    outcome,
    overdue,
    prepared,
    queued,
    running,
    state_of,
    stopped,
    user,
    while_uncommitted,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def api() -> Api:
    return organiser()


@pytest.fixture
def version() -> PreparedData:
    return prepared()


def ask(api: Api, route: str, body: object = None) -> int:
    """How many jobs the cancel or rerun concerned."""
    return int(accepted(api.send(route, body or {}), 200)["jobs"])


def cancelled(one: SubmissionFold) -> int:
    return jobs.cancel(SubmissionFold.objects.filter(pk=one.pk))


def rerun(one: SubmissionFold) -> int:
    return jobs.rerun(SubmissionFold.objects.filter(pk=one.pk))


def history(one: SubmissionFold) -> list[tuple[int, str, str, str]]:
    """Of each attempt: number, runner, outcome, failure kind."""
    keys = ("number", "runner", "outcome", "failure")
    return [tuple(row[key] for key in keys) for row in jobs.attempts(job_of(one))]  # type: ignore[misc]


# --- cancel --------------------------------------------------------------------------------------------


def test_a_waiting_fold_is_cancelled_at_once(api: Api, version: PreparedData) -> None:
    waiting, in_broker, unprepared = fold(version), fold(version), fold(data_set("other"), submission=2)
    queued(in_broker)
    for one in (waiting, in_broker, unprepared):
        assert ask(api, f"submissionfold/{one.pk}/cancel/") == 1
        answer = api.ask(f"submissionfold/{one.pk}/").json()
        assert (answer["state"], answer["waiting"]) == ("ERROR", None)
        assert job_of(one).state == JobState.CANCELLED
        assert job_of(one).deadline is None


def test_the_order_of_a_cancelled_fold_is_refused_to_who_takes_it(version: PreparedData) -> None:
    one = fold(version)
    queued(one)
    cancelled(one)
    (told,) = results.record([claim(one)])
    assert (told.runner, told.stop.job, told.stop.attempt) == (RUNNER, str(one.job_id), 1)
    assert state_of(one) == JobState.CANCELLED


def test_a_running_fold_is_cancelled_when_its_runner_says_that_it_is_gone(
    api: Api, version: PreparedData
) -> None:
    one = fold(version)
    running(one)
    assert ask(api, f"submissionfold/{one.pk}/cancel/") == 1
    assert state_of(one) == JobState.RUNNING
    results.record([stopped(one)])
    assert state_of(one) == JobState.CANCELLED
    assert history(one) == [(1, RUNNER, "cancelled", "")]


def test_what_a_cancelled_fold_had_printed_is_kept(api: Api, version: PreparedData) -> None:
    one = fold(version)
    running(one)
    results.note([log_chunk(one, 9, "goes on"), log_chunk(one, 0, "training ")])
    assert api.ask(f"submissionfold/{one.pk}/log/").json() == {"log": "training goes on"}
    cancelled(one)
    results.record([stopped(one)])
    assert api.ask(f"submissionfold/{one.pk}/log/").json() == {"log": "training goes on"}
    assert not LogPiece.objects.exists()


def test_the_first_outcome_wins_over_a_cancel(version: PreparedData) -> None:
    one = fold(version)
    running(one)
    cancelled(one)
    results.record([outcome(one)])
    assert state_of(one) == JobState.SUCCEEDED
    assert cancelled(one) == 0
    assert state_of(one) == JobState.SUCCEEDED
    assert Prediction.objects.get().fold_id == one.pk


def test_a_cancelled_fold_whose_runner_dies_or_leaves_is_not_tried_again(version: PreparedData) -> None:
    dies, leaves, fails = folds(version, 3)
    for one in (dies, leaves, fails):
        running(one)
        cancelled(one)
    overdue(dies.job_id)
    assert results.lose(job_of(dies), "It fell silent.")
    results.record([handed_back(leaves), outcome(fails, failure="environment")])
    assert [state_of(one) for one in (dies, leaves, fails)] == [JobState.CANCELLED] * 3


def test_cancelling_a_submission_cancels_its_folds_only(api: Api, version: PreparedData) -> None:
    waiting, runs, ended = folds(version, 3)
    other = fold(version, submission=2)
    running(runs)
    running(ended)
    results.record([outcome(ended)])
    assert ask(api, "submission/1/cancel/") == 2
    assert state_of(waiting) == JobState.CANCELLED
    assert (state_of(runs), job_of(runs).cancel_requested) == (JobState.RUNNING, True)
    assert state_of(ended) == JobState.SUCCEEDED
    assert (state_of(other), job_of(other).cancel_requested) == (JobState.CREATED, False)


def test_a_deleted_fold_is_cancelled_first(version: PreparedData) -> None:
    waiting, runs = folds(version, 2)
    running(runs)
    job = job_of(runs)
    SubmissionFold.objects.all().delete()
    assert state_of(waiting) == JobState.CANCELLED
    job.refresh_from_db()
    assert (job.state, job.cancel_requested) == (JobState.RUNNING, True)


@pytest.mark.parametrize(
    "route", ["submissionfold/7/cancel/", "submissionfold/7/rerun/", "submission/7/cancel/"]
)
def test_what_is_not_there_can_t_be_cancelled(api: Api, route: str) -> None:
    assert api.send(route, {}).status_code == 404


# --- rerun ---------------------------------------------------------------------------------------------


def test_a_fold_that_runs_again_forgets_nothing_but_its_predictions(api: Api, version: PreparedData) -> None:
    one = fold(version)
    running(one)
    results.record([outcome(one, log="first")])
    SubmissionFold.objects.update(new=False)

    assert ask(api, f"submissionfold/{one.pk}/rerun/") == 1
    answer = api.ask(f"submissionfold/{one.pk}/").json()
    assert (answer["state"], answer["test_predictions"], answer["log_messages"]) == ("TODO", None, "")
    assert answer["new"]
    assert history(one) == [(1, RUNNER, "succeeded", "")]

    running(one, "runner-2")
    results.record([outcome(one, "runner-2", failure="user_error", message="ValueError", log="second")])
    assert history(one) == [(1, RUNNER, "succeeded", ""), (2, "runner-2", "failed", "user_error")]
    rows = api.ask(f"submissionfold/{one.pk}/attempts/").json()
    assert [(row["log"], row["message"]) for row in rows] == [("first", ""), ("second", "ValueError")]
    assert all(row["started_at"] <= row["ended_at"] for row in rows)


def test_a_late_outcome_of_the_attempt_before_changes_nothing(version: PreparedData) -> None:
    one = fold(version)
    running(one)
    late = outcome(one)
    cancelled(one)
    results.record([stopped(one)])
    rerun(one)
    results.record([late])
    assert state_of(one) == JobState.CREATED
    running(one)
    results.record([late])
    assert state_of(one) == JobState.RUNNING
    assert not Prediction.objects.exists()


def test_only_what_has_ended_runs_again(api: Api, version: PreparedData) -> None:
    waiting, in_broker, runs = folds(version, 3)
    queued(in_broker)
    running(runs)
    assert ask(api, "submission/1/rerun/") == 0
    assert [state_of(one) for one in (waiting, in_broker, runs)] == ["created", "queued", "running"]


def test_all_failed_folds_of_a_submission_run_again(api: Api, version: PreparedData) -> None:
    succeeded, failed, stopped_, lost = folds(version, 4)
    other = fold(version, submission=2)
    for one in (succeeded, failed, lost, other):
        running(one)
    cancelled(stopped_)
    said = {"failure": "user_error"}
    results.record([outcome(succeeded), outcome(failed, **said), outcome(other, **said)])
    Job.objects.filter(pk=lost.job_id).update(losses=states.MAX_LOSSES - 1)
    results.record([outcome(lost, failure="environment")])

    assert ask(api, "submission/1/rerun/", {"failed_only": True}) == 3
    assert state_of(succeeded) == JobState.SUCCEEDED
    assert state_of(other) == JobState.FAILED
    assert {state_of(one) for one in (failed, stopped_, lost)} == {JobState.CREATED}
    assert job_of(lost).losses == 0, "a new start has all its attempts"
    assert ask(api, "submission/1/rerun/") == 1  # the one that succeeded


def test_a_fold_that_is_cancelled_before_its_next_attempt_runs_again_like_any_other(
    version: PreparedData,
) -> None:
    """Its last attempt stands in the history already."""
    one = fold(version)
    running(one)
    results.record([outcome(one, failure="environment")])
    cancelled(one)
    assert history(one) == [(1, RUNNER, "failed", "environment")]
    for _ in range(2):
        assert rerun(one) == 1
        cancelled(one)
    assert history(one) == [(1, RUNNER, "failed", "environment")]
    rerun(one)
    running(one)
    assert history(one) == [(1, RUNNER, "failed", "environment"), (2, RUNNER, "running", "")]


def test_the_history_tells_apart_how_attempts_ended(version: PreparedData) -> None:
    one = fold(version)
    running(one)
    results.record([handed_back(one)])
    running(one, "runner-2")
    cancelled(one)
    results.record([stopped(one, "runner-2")])
    rerun(one)
    queued(one)
    overdue(one.job_id)
    assert results.lose(job_of(one), "Its order vanished.")
    running(one)
    results.record([outcome(one)])
    assert history(one) == [
        (1, RUNNER, "handed back", "lost"),
        (2, "runner-2", "cancelled", ""),
        (3, "", "failed", "lost"),  # nobody had taken it
        (4, RUNNER, "succeeded", ""),
    ]


def test_a_fold_runs_again_on_the_data_as_it_is_split_now(version: PreparedData) -> None:
    one = fold(version)
    running(one)
    results.record([outcome(one)])
    latest = raw_data.split(user(), version.raw_data_id, 0.5, 1)
    rerun(one)
    assert (state_of(one), job_of(one).waits_for_data) == (JobState.CREATED, True)
    Job.objects.filter(pk=latest.job_id).update(state=JobState.RUNNING, attempt=1, runner=RUNNER)
    results.record([_prepared(latest, n_train=2)])
    assert state_of(one) == JobState.FAILED, "its largest index is 2"
    assert "Index 2 is out of range" in job_of(one).message


def test_a_fold_that_runs_again_on_data_with_fewer_rows_fails_at_once(version: PreparedData) -> None:
    one = fold(version)
    running(one)
    results.record([outcome(one)])
    PreparedData.objects.update(n_train=2)
    rerun(one)
    assert (state_of(one), job_of(one).failure) == (JobState.FAILED, "data")


def _prepared(version: PreparedData, n_train: int) -> results.Outcome:
    blobs = {"train_rows": "0" * 64, "test_rows": "0" * 64}
    counts = {"n_train": n_train, "n_test": 1}
    return results.Outcome(str(version.job_id), 1, RUNNER, counts=counts, blobs=blobs)


# --- at the same moment --------------------------------------------------------------------------------

concurrent = pytest.mark.django_db(transaction=True)


@concurrent
def test_a_cancel_beside_a_claim_waits_for_the_runner() -> None:
    """The fold is seen queued, and runs by the time that it is locked."""
    one = fold(prepared())
    queued(one)
    taken = claim(one)
    while_uncommitted(lambda: results.record([taken]), lambda: cancelled(one))
    assert (state_of(one), job_of(one).cancel_requested) == (JobState.RUNNING, True)


@concurrent
def test_a_cancel_beside_an_outcome_leaves_it_alone() -> None:
    one = fold(prepared())
    queued(one)
    taken, ended = claim(one), outcome(one)
    while_uncommitted(lambda: results.record([taken, ended]), lambda: cancelled(one))
    assert state_of(one) == JobState.SUCCEEDED


@concurrent
def test_a_cancel_beside_a_loss_ends_the_fold() -> None:
    """The fold is seen running, and waits again by the time that it is locked."""
    one = fold(prepared())
    running(one)
    overdue(one.job_id)
    while_uncommitted(lambda: results.lose(job_of(one), "It fell silent."), lambda: cancelled(one))
    assert state_of(one) == JobState.CANCELLED


@concurrent
def test_a_failed_preparation_leaves_folds_alone_that_are_cancelled_beside_it() -> None:
    version = prepared()
    one = fold(version, waits_for_data=True)
    Job.objects.filter(pk=version.job_id).update(state=JobState.FAILED)

    def settle() -> None:
        with transaction.atomic():
            raw_data.settle(PreparedData.objects.get(pk=version.pk))

    while_uncommitted(lambda: cancelled(one), settle)
    assert state_of(one) == JobState.CANCELLED


@concurrent
def test_a_fold_that_two_people_run_again_runs_once() -> None:
    one = fold(prepared())
    running(one)
    results.record([outcome(one)])
    while_uncommitted(lambda: rerun(one), lambda: rerun(one))
    assert state_of(one) == JobState.CREATED
    assert history(one) == [(1, RUNNER, "succeeded", "")]


@concurrent
def test_a_fold_that_runs_again_as_its_data_gets_ready_does_not_wait_for_ever() -> None:
    version = prepared()
    one = fold(version)
    running(one)
    results.record([outcome(one)])
    Job.objects.filter(pk=version.job_id).update(state=JobState.RUNNING, runner=RUNNER)
    while_uncommitted(
        lambda: results.record([_prepared(version, n_train=8)]),
        lambda: rerun(one),
    )
    assert (state_of(one), job_of(one).waits_for_data) == (JobState.CREATED, False)


@concurrent
def test_cancels_and_outcomes_of_many_folds_never_block_one_another_for_ever() -> None:
    """They lock the same rows, in the same order."""
    many = folds(prepared(), 40)
    queued(*many)
    claims, ends = [claim(one) for one in many], [outcome(one) for one in many]
    turn = threading.Barrier(2, timeout=PATIENCE)

    def collect() -> None:
        turn.wait()
        results.record(list(reversed(claims)) + ends)

    def cancel() -> None:
        turn.wait()
        jobs.cancel(SubmissionFold.objects.order_by("-pk"))

    with ThreadPoolExecutor(2) as pool:
        for future in [in_thread(pool, collect), in_thread(pool, cancel)]:
            future.result(PATIENCE)
    assert {state_of(one) for one in many} <= {JobState.CANCELLED, JobState.SUCCEEDED}
