"""What people are shown of submissions: the state of each fold, scores, how bagging goes, why they wait or failed.

Test scores are the organiser's until the data set is closed.
"""

from collections.abc import Collection, Iterable
from typing import Any

from django.contrib.auth.models import User

from datarun.contract.states import JobState, fold_state
from runapp.models import Ensemble, Part, RawData, Score, Submission, SubmissionScore

from . import scores, submitting, waiting

_FIRST_LINES = 5  # of a failure's message


def parts_for(user: User | None, raw_data: RawData) -> list[Part]:
    """The parts whose scores `user` may see."""
    everything = is_organiser(user, raw_data) or raw_data.closed_at is not None
    return list(Part) if everything else [Part.TRAIN, Part.VALID]


def is_organiser(user: User | None, raw_data: RawData) -> bool:
    """Whether the data set is the user's to decide about."""
    return user is not None and (user.is_staff or user.pk == raw_data.owner_id)


def submission(row: Submission, parts: Collection[Part]) -> dict[str, Any]:
    """Everything about one submission."""
    failure = submitting.failure_of(row)
    return {
        **summary(row),
        "waiting": submitting.waits_for(row),
        "failure": explained(*failure) if failure else None,
        "folds": _folds(row, parts),
        "scores": together(row, parts),
        "bagging": bagging(row),
    }


def summary(row: Submission) -> dict[str, Any]:
    """What a list says of a submission; its data set and owner come with it."""
    return {
        "id": row.pk,
        "name": row.name,
        "raw_data": row.raw_data_id,
        "data_set": row.raw_data.name,
        "user": row.owner.username if row.owner else None,
        "submitted_at": row.created_at,
        "files": sorted(row.files),
    }


def explained(kind: str, message: str) -> dict[str, str]:
    """A failure: its kind, and the first lines and the last one of its message, which say what went wrong."""
    lines = message.strip().splitlines()
    if len(lines) > _FIRST_LINES + 1:
        lines = [*lines[:_FIRST_LINES], "…", lines[-1]]
    return {"kind": kind or "cancelled", "message": "\n".join(lines)}


def _folds(row: Submission, parts: Collection[Part]) -> list[dict[str, Any]]:
    folds = row.submissionfold_set.select_related("job", "cv_fold").order_by("cv_fold__number", "pk")
    values = scores_of([fold.pk for fold in folds], parts)
    shown = []
    for fold in folds:
        job = fold.job
        ended_badly = job.state in (JobState.FAILED, JobState.CANCELLED)
        shown.append(
            {
                "id": fold.pk,
                "number": None if fold.cv_fold is None else fold.cv_fold.number,
                "state": fold_state(job.state, job.stage),
                "failure": explained(job.failure, job.message) if ended_badly else None,
                "waiting": waiting.explain(job),
                "train_time": job.train_time,
                "validation_time": job.validation_time,
                "test_time": job.test_time,
                "scores": values.get(fold.pk, {}),
            }
        )
    return shown


def scores_of(folds: Iterable[int], parts: Collection[Part]) -> dict[int, dict[str, dict[str, float | None]]]:
    """fold → part → metric → value."""
    found: dict[int, dict[str, dict[str, float | None]]] = {}
    rows = Score.objects.filter(fold__in=list(folds), part__in=parts).order_by("pk")
    for fold, part, metric, value in rows.values_list("fold", "part", "metric", "value"):
        found.setdefault(fold, {}).setdefault(part, {})[metric] = scores.storable(value)
    return found


def together(row: Submission, parts: Collection[Part]) -> list[dict[str, Any]]:
    """Of each metric, the official one first, and part."""
    directions = scores.directions(row.raw_data)
    order = {name: position for position, name in enumerate(directions)}
    rows = SubmissionScore.objects.filter(submission=row, part__in=parts, metric__in=directions)
    fields = ("metric", "part", "mean", "std", "folds", "bagged", "curve")
    found = sorted(
        rows.values(*fields), key=lambda each: (order[each["metric"]], list(Part).index(each["part"]))
    )
    return [scores.storable(each) | {"lower_is_better": directions[each["metric"]]} for each in found]


def bagging(row: Submission) -> dict[str, Any] | None:
    """How the job that combines its folds goes; None before there is one."""
    ensemble = Ensemble.objects.select_related("job").filter(submission=row, job__isnull=False).first()
    if ensemble is None or ensemble.job is None:
        return None
    job = ensemble.job
    return {
        "state": job.state,
        "failure": explained(job.failure, job.message) if job.state == JobState.FAILED else None,
        "waiting": waiting.explain(job),
    }
