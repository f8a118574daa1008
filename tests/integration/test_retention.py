"""Retention: what is old enough goes, and nothing that is still wanted."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.db.models.functions import Now
from pytest_django import Settings

from datarun.contract.states import JobState
from runapp.models import Attempt, Dropped, Job, LogPiece, Prediction, PreparedData
from runapp.services import jobs, results, retention
from tests.integration.jobs import (
    claim,
    fold,
    folds,
    job_of,
    later,
    log_chunk,
    outcome,
    prepared,
    queued,
    running,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _kept_for_thirty_days(settings: Settings) -> None:
    settings.RETENTION_DAYS = 30


@pytest.fixture
def version() -> PreparedData:
    return prepared()


def days(number: int) -> None:
    """So many days pass."""
    later(days=number)
    passed = timedelta(days=number)
    Attempt.objects.update(ended_at=F("ended_at") - passed)
    Dropped.objects.update(at=F("at") - passed)


def test_the_log_of_a_fold_goes_once_it_is_old_and_nothing_else_of_it(version: PreparedData) -> None:
    one = fold(version)
    running(one)
    results.record([outcome(one, log="fitted")])
    days(29)
    assert retention.clean() == 0
    assert job_of(one).log == "fitted"
    days(2)
    assert retention.clean() == 1
    job = job_of(one)
    assert (job.state, job.log, Prediction.objects.exists()) == (JobState.SUCCEEDED, "", True)
    assert retention.clean() == 0


def test_why_a_fold_failed_is_kept_for_ever(version: PreparedData) -> None:
    one = fold(version)
    running(one)
    results.record([outcome(one, failure="user_error", message="ValueError: no", log="fitting")])
    days(31)
    retention.clean()
    assert (job_of(one).failure, job_of(one).message) == ("user_error", "ValueError: no")


def test_old_attempts_go_and_later_ones_stay(version: PreparedData) -> None:
    one = fold(version)
    running(one)
    results.record([outcome(one, failure="environment", log="first")])
    days(20)
    running(one)
    results.record([outcome(one, failure="environment", log="second")])
    running(one)
    days(11)
    assert [row["number"] for row in jobs.attempts(job_of(one))] == [1, 2, 3]
    assert retention.clean() == 1
    assert [row["number"] for row in jobs.attempts(job_of(one))] == [2, 3]


def test_records_of_dropped_messages_go(version: PreparedData) -> None:
    one = fold(version)
    queued(one)
    results.record([claim(one, "runner-1"), claim(one, "runner-2")])
    assert Dropped.objects.count() == 1
    days(29)
    retention.clean()
    assert Dropped.objects.count() == 1
    days(2)
    retention.clean()
    assert not Dropped.objects.exists()


def test_what_a_fold_prints_is_kept_while_it_runs_however_long_that_takes(version: PreparedData) -> None:
    one = fold(version)
    running(one)
    results.note([log_chunk(one, 0, "step 0")])
    days(400)
    assert retention.clean() == 0
    assert jobs.log(job_of(one)) == "step 0"


def test_pieces_of_a_log_that_came_after_the_end_go(version: PreparedData) -> None:
    one, other = folds(version, 2)
    running(one)
    running(other)
    for ended in (one, other):
        LogPiece.objects.create(job_id=ended.job_id, attempt=1, offset=7, text="late")
    results.record([outcome(one)])
    LogPiece.objects.get_or_create(job_id=one.job_id, attempt=1, offset=7, defaults={"text": "late"})
    assert retention.clean() == 1
    assert LogPiece.objects.get().job_id == other.job_id


def test_it_goes_on_where_it_stopped(version: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much there is, a round is short."""
    monkeypatch.setattr(retention, "_BATCH", 4)
    many = folds(version, 10)
    Job.objects.filter(pk__in=[one.job_id for one in many]).update(
        state=JobState.SUCCEEDED, log="fitted", finished_at=Now() - timedelta(days=31), deadline=None
    )
    assert [retention.clean() for _ in range(4)] == [4, 4, 2, 0]
