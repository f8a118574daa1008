"""Where a fold's results come from, and whether they come again: the record, and replays that are compared with it.

A replay is a job of its own. It changes nothing of its fold.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from django.contrib.auth.models import User
from django.db import transaction

from datarun.contract import npy, queues
from datarun.contract.messages import Limits, Outcome
from datarun.contract.states import JobKind, JobState
from runapp.models import Job, Record, Replay, Score, SubmissionFold

from . import blobs, fairness, orders, wakeup
from .errors import BadInput
from .scores import facts_of, storable

#: Where these are equal, a replay has to give the same bits.
_DECIDES = ("versions", "python", "threads", "cpu")


def record(fold: SubmissionFold) -> dict[str, Any]:
    """Everything that the fold's results depend on, as JSON values."""
    submission, version = fold.databoard_s, fold.prepared
    raw_data = submission.raw_data
    said = Record.objects.filter(fold=fold).values_list("facts", flat=True).first() or {}
    return {
        "fold": fold.pk,
        "number": None if fold.cv_fold is None else fold.cv_fold.number,
        "submission": submission.pk,
        "attempt": fold.job.attempt,
        "state": fold.job.state,
        "code": submission.files,
        "data_set": {
            "files": raw_data.files,
            "prepared": {} if version is None else version.files,
            "held_out_test": None if version is None else version.held_out_test,
            "random_state": None if version is None else version.random_state,
            "module": raw_data.module or None,
            "data_label": raw_data.data_label or None,
        },
        "folds": {"train_is": fold.train_is_id, "test_is": fold.test_is_id},
        "metrics": raw_data.metrics,
        "elements": raw_data.workflow_elements,
        "limits": _limits(orders.limits(raw_data)),
        "runner": fold.job.runner,
        **{name: said.get(name) for name in ("seed", *_DECIDES)},
    }


def _limits(limits: Limits) -> dict[str, float | None]:
    names = ("wall", "soft", "cpu", "memory", "disk")
    return {name: getattr(limits, name) for name in names}


@transaction.atomic
def replay(owner: User | None, fold: SubmissionFold) -> Replay:
    """Runs the fold once more, beside what it gave."""
    if fold.job.state != JobState.SUCCEEDED or not hasattr(fold, "prediction"):
        raise BadInput("fold", f"Fold {fold.pk} has no results to compare with: it is {fold.job.state}.")
    job = Job.objects.create(
        kind=JobKind.FOLD,
        queue=queues.in_environment(fold.priority, fold.databoard_s.raw_data.environment),
        owner=owner,
        share=fairness.share_of(owner, fold.databoard_s),
    )
    wakeup.scheduler()
    return Replay.objects.create(fold=fold, job=job)


def compare(outcomes: Mapping[str, Outcome]) -> None:
    """Writes down how those of these outcomes (job → outcome) that are of replays compare with their folds."""
    replays = Replay.objects.filter(job__in=list(outcomes)).select_related("fold__record", "fold__prediction")
    for each in replays:
        outcome = outcomes[str(each.job_id)]
        each.result = None if outcome.failure else _compared(each.fold, outcome)
        each.save(update_fields=["result"])


def _compared(fold: SubmissionFold, outcome: Outcome) -> dict[str, Any]:
    """Of each part of the predictions and each score whether it is the same to the last bit; and what differs."""
    then = fold.record.facts if hasattr(fold, "record") else {}
    now = facts_of(outcome)
    predicted = {
        part: content == _kept(fold, part) for part, content in sorted(_predictions(outcome).items())
    }
    scores = Score.objects.filter(fold=fold).values_list("part", "metric", "value")
    differing = [
        {"part": part, "metric": metric, "then": value, "now": outcome.scores.get(part, {}).get(metric)}
        for part, metric, value in sorted(scores)
        if metric in outcome.scores.get(part, {}) and not _same(value, outcome.scores[part][metric])
    ]
    surroundings = list(_differences(then, now))
    identical = bool(predicted) and all(predicted.values()) and not differing
    result: dict[str, Any] = storable(
        {
            "identical": identical,
            "comparable": not surroundings,
            "predictions": predicted,
            "scores": differing,
            "differences": surroundings,
            "runner": outcome.runner,
        }
    )
    return result | {"summary": _summary(identical, surroundings)}


def _summary(identical: bool, surroundings: list[str]) -> str:
    if identical:
        return "The same to the last bit."
    if not surroundings:
        return "Other results on equal versions, threads and CPU: the code does not seed all that is random in it."
    return f"Other results, in other surroundings: {'; '.join(surroundings)}."


def _same(one: float, other: float) -> bool:
    return np.float64(one).tobytes() == np.float64(other).tobytes() or (one != one and other != other)


def _kept(fold: SubmissionFold, part: str) -> bytes | None:
    content = getattr(fold.prediction, part) if hasattr(fold, "prediction") else None
    return None if content is None else bytes(content)


def _predictions(outcome: Outcome) -> dict[str, bytes]:
    contents = {part: npy.dumps(array) for part, array in outcome.arrays.items()}
    return contents | {part: blobs.get(name) for part, name in outcome.array_blobs.items()}


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[str]:
    """What of the surroundings is not as it was, in words."""
    for name in _DECIDES:
        before, after = then.get(name), now.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            for package in sorted({*before, *after}):
                if before.get(package) != after.get(package):
                    yield f"{package} {before.get(package)} then, {after.get(package)} now"
        elif before != after:
            yield f"{name} {before} then, {after} now"


def replays(fold: SubmissionFold) -> list[dict[str, Any]]:
    """The fold's replays, the latest first: state of the job, and what came of it."""
    rows = Replay.objects.filter(fold=fold).select_related("job").order_by("-pk")
    return [
        {
            "id": row.pk,
            "task_id": str(row.job_id),
            "state": row.job.state,
            "requested_at": row.requested_at,
            "failure": row.job.failure,
            "message": row.job.message,
            "result": row.result,
        }
        for row in rows
    ]
