"""What people may do with jobs: cancel them, run them again, see what became of each attempt."""

from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from datarun.contract.states import JobState
from runapp import states
from runapp.models import Job, LogPiece, Prediction, RawData, Submission, SubmissionFold

from . import raw_data, waiting, wakeup
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
    for data_set in data_sets.order_by("pk").select_for_update():
        version = raw_data.current_version(data_set)
        of_set = folds.filter(databoard_s__raw_data=data_set)
        again = states.rerun(Job.objects.filter(submissionfold__in=of_set), waits_for_data=True)
        Prediction.objects.filter(fold__job__in=again).delete()
        SubmissionFold.objects.filter(job__in=again).update(new=True, prepared=version)
        if version is not None:
            raw_data.settle(version, again)
        number += len(again)
    wakeup.scheduler()
    return number


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
    first = folds.order_by("job__created_at", "pk").first()
    return None if first is None else waiting.explain(first.job)


def log(job: Job) -> str:
    """What the current attempt has printed so far."""
    if job.state != JobState.RUNNING:
        return job.log
    pieces = LogPiece.objects.filter(job=job, attempt=job.attempt).order_by("offset")
    return "".join(pieces.values_list("text", flat=True))
