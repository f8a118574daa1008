"""What people may do with jobs: cancel them, run them again, see what became of each attempt."""

from collections.abc import Iterator
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from datarun.contract.states import JobState
from runapp import states
from runapp.models import Job, Prediction, PreparedData, RawData, Submission, SubmissionFold

from . import ensembles, raw_data, scores, waiting, wakeup
from .waiting import Waiting


@transaction.atomic
def cancel(folds: QuerySet[SubmissionFold]) -> int:
    """Ends the jobs of these folds: waiting ones now, running ones once their runner confirms it."""
    number = states.cancel(Job.objects.filter(submissionfold__in=folds))
    wakeup.scheduler()
    return number


@transaction.atomic
def rerun(folds: QuerySet[SubmissionFold], failed_only: bool = False) -> int:
    """Runs finished folds again, on the data as it is prepared now, keeping the history of their attempts.

    Returns how many.
    """
    if failed_only:
        folds = folds.filter(job__state__in=[JobState.FAILED, JobState.CANCELLED])
    number = 0
    # A preparation that ends at this moment either sees these folds waiting or is seen by them.
    data_sets = RawData.objects.filter(pk__in=folds.order_by().values("databoard_s__raw_data"))
    for data_set in data_sets.order_by("pk").select_for_update(no_key=True):
        version = raw_data.current_version(data_set)
        of_set = folds.filter(databoard_s__raw_data=data_set)
        again = states.rerun(Job.objects.filter(submissionfold__in=of_set), waits_for_data=True)
        Prediction.objects.filter(fold__job__in=again).delete()
        _forget_scores(SubmissionFold.objects.filter(job__in=again))
        SubmissionFold.objects.filter(job__in=again).update(new=True, prepared=version)
        if version is not None:
            raw_data.settle(version, again)
        number += len(again)
    wakeup.scheduler()
    return number


def _forget_scores(folds: QuerySet[SubmissionFold]) -> None:
    """Of folds that run again."""
    scored = dict(folds.filter(score__isnull=False).values_list("pk", "databoard_s").distinct())
    if scored:
        submissions = set(scored.values())
        scores.lock(submissions)
        scores.forget(scored, submissions)
        ensembles.want_bagging(submissions)


@transaction.atomic
def cancel_preparations(versions: QuerySet[PreparedData]) -> int:
    """Ends these preparations like folds. Folds that wait for one that has ended fail with its reason."""
    number = 0
    for version in _locked(versions):
        if states.cancel(Job.objects.filter(pk=version.job_id)):
            number += 1
            raw_data.settle(version)
    wakeup.scheduler()
    return number


@transaction.atomic
def rerun_preparations(versions: QuerySet[PreparedData]) -> int:
    """Does these preparations again, those that have ended; folds that are posted meanwhile wait. Returns how many."""
    number = sum(len(states.rerun(Job.objects.filter(pk=version.job_id))) for version in _locked(versions))
    wakeup.scheduler()
    return number


def _locked(versions: QuerySet[PreparedData]) -> Iterator[PreparedData]:
    """One after the other, with the lock of its data set; in one order, so that nobody waits in a circle."""
    for job in list(versions.order_by("raw_data", "pk").values_list("job", flat=True)):
        if (version := raw_data.prepared_by(job)) is not None:
            yield version


def attempts(job: Job) -> list[dict[str, Any]]:
    """Every attempt at the job, the current one last: runner, times, outcome, failure kind and message."""
    fields = ("number", "runner", "started_at", "ended_at", "outcome", "failure", "message", "log")
    rows: list[dict[str, Any]] = list(job.earlier.order_by("number").values(*fields))
    # A job that waits for its next attempt still has the number of the one before, which is kept already.
    if job.state != JobState.CREATED and job.attempt and job.attempt not in {row["number"] for row in rows}:
        rows.append(
            {
                "number": job.attempt,
                "runner": job.runner if job.started_at else "",
                "started_at": job.started_at,
                "ended_at": job.finished_at,
                "failure": job.failure,
                "message": job.message,
                "log": log(job),
                "outcome": job.state,
            }
        )
    return rows


def waiting_of(submission: Submission) -> Waiting | None:
    """Why the submission waits: the reason of its fold that is next, or None when none waits."""
    folds = submission.submissionfold_set.filter(job__state__in=states.WAITING).select_related("job")
    # Those in the broker first, those that wait for data last.
    first = folds.order_by("job__queued_at", "job__waits_for_data", "job__created_at", "pk").first()
    return None if first is None else waiting.explain(first.job)


def log(job: Job) -> str:
    """What the current attempt has printed so far."""
    return states.printed(job) if job.state == JobState.RUNNING else job.log
