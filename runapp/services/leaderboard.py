"""A data set's submissions, the best first: read from what has been added up already, a page at a time."""

import csv
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Avg, Count, Q

from datarun.contract.states import JobState
from runapp.models import CVFold, Ensemble, Part, RawData, Submission, SubmissionFold, SubmissionScore

from . import raw_data as data_sets
from . import reports, scores, submitting

_FORMULA = ("=", "+", "-", "@", "\t", "\r")

# Submissions all of whose folds have a score, by the official metric on the validation rows, then the others. Ranks
# are those among all, whoever is shown. What is no number sorts last in ascending order.
_RANKED = """
    WITH entry AS (
        SELECT submission.databoard_s_id AS id, submission.owner_id AS owner, submission.created_at AS at,
            together.mean * %(sign)s AS key,
            coalesce(together.folds = %(folds)s AND together.mean <> 'NaN', false) AS complete
        FROM runapp_submission AS submission LEFT JOIN runapp_submissionscore AS together
            ON together.submission_id = submission.databoard_s_id
               AND together.metric = %(metric)s AND together.part = 'valid'
        WHERE submission.raw_data_id = %(raw_data)s AND submission.whole
    ), ranked AS (
        SELECT *, CASE WHEN complete THEN rank() OVER (PARTITION BY complete ORDER BY key) END AS rank FROM entry
    )
    SELECT id, rank FROM ranked
"""
_BEST_FIRST = " ORDER BY complete DESC, key, id LIMIT %(limit)s OFFSET %(offset)s"
_HISTORY = """
    WHERE owner = (SELECT id FROM auth_user WHERE username = %(user)s)
    ORDER BY at DESC, id DESC LIMIT %(limit)s OFFSET %(offset)s
"""


@dataclass(frozen=True)
class Wanted:
    """Which rows of a leaderboard: all, the best first; or those of one user, the latest first."""

    parts: Collection[Part]
    limit: int | None = None
    offset: int = 0
    user: str | None = None


def read(raw_data: RawData, wanted: Wanted) -> dict[str, Any]:
    """The leaderboard with the rows that are wanted, as JSON values and times."""
    directions = scores.directions(raw_data)
    official = next(iter(directions), "")
    blend = (
        Ensemble.objects.filter(raw_data=raw_data, submission=None).values_list("result", flat=True).first()
        or {}
    )
    submissions = Submission.objects.filter(raw_data=raw_data, whole=True)
    if wanted.user is not None:
        submissions = submissions.filter(owner__username=wanted.user)
    ranks = _ranks(raw_data, official, directions.get(official, False), wanted)
    return {
        "id": raw_data.pk,
        "name": raw_data.name,
        "closed_at": raw_data.closed_at,
        "official": official,
        "metrics": [{"name": name, "lower_is_better": lower} for name, lower in directions.items()],
        "count": submissions.count(),
        "blended": {
            part: {name: values[name] for name in directions if name in values}
            for part, values in blend.get("bagged", {}).items()
            if part in wanted.parts
        },
        "submissions": _rows(ranks, official, directions, wanted.parts, blend.get("contributivity", {})),
    }


def _ranks(raw_data: RawData, official: str, lower_is_better: bool, wanted: Wanted) -> dict[int, int | None]:
    """Submission → rank, in the order of the rows."""
    version = data_sets.current_version(raw_data)
    given: dict[str, Any] = {
        "raw_data": raw_data.pk,
        "metric": official,
        "sign": 1.0 if lower_is_better else -1.0,
        "folds": CVFold.objects.filter(prepared=version).count(),
        "limit": wanted.limit,
        "offset": wanted.offset,
        "user": wanted.user,
    }
    with connection.cursor() as cursor:
        cursor.execute(_RANKED + (_BEST_FIRST if wanted.user is None else _HISTORY), given)
        return dict(cursor.fetchall())


def _rows(
    ranks: dict[int, int | None],
    official: str,
    directions: Collection[str],
    parts: Collection[Part],
    contributivity: dict[str, float],
) -> list[dict[str, Any]]:
    submissions = Submission.objects.select_related("raw_data", "owner").in_bulk(ranks)
    together = _together(ranks, directions, parts)
    folds = _folds(ranks)
    rows = []
    for id, rank in ranks.items():
        if id not in submissions:
            continue  # it was deleted just now
        shown = together.get(id, {})
        valid = shown.get(official, {}).get(Part.VALID, {})
        row = {
            "rank": rank,
            **reports.summary(submissions[id]),
            **{name: valid.get(name) for name in ("mean", "std", "bagged")},
            "scores": shown,
            "contributivity": contributivity.get(str(id)),
            **folds.get(id, _NO_FOLDS),
        }
        rows.append(row | {"why": None})
    _explain([row for row in rows if row["rank"] is None], submissions)
    return rows


_NO_FOLDS = {"folds": 0, "done": 0, "failed": 0, "train_time": None, "test_time": None}


def _together(
    ids: Collection[int], metrics: Collection[str], parts: Collection[Part]
) -> dict[int, dict[str, dict[str, dict[str, float | None]]]]:
    """submission → metric → part → mean, std and bagged."""
    found: dict[int, Any] = {}
    rows = SubmissionScore.objects.filter(submission__in=list(ids), part__in=parts, metric__in=metrics)
    fields = ("submission", "metric", "part", "mean", "std", "bagged")
    for id, metric, part, *values in rows.values_list(*fields):
        named = dict(zip(("mean", "std", "bagged"), scores.storable(values), strict=True))
        found.setdefault(id, {}).setdefault(metric, {})[part] = named
    return {id: {metric: of[metric] for metric in metrics if metric in of} for id, of in found.items()}


def _folds(ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """submission → how many folds it has, how many are done and failed, and their mean times in seconds."""
    done = Q(job__state=JobState.SUCCEEDED)
    rows = (
        SubmissionFold.objects.filter(databoard_s__in=list(ids))
        .values("databoard_s")
        .annotate(
            folds=Count("pk"),
            done=Count("pk", filter=done),
            failed=Count("pk", filter=Q(job__state__in=[JobState.FAILED, JobState.CANCELLED])),
            train_time=Avg("job__train_time", filter=done),
            test_time=Avg("job__test_time", filter=done),
        )
    )
    return {row["databoard_s"]: {name: dict(row)[name] for name in _NO_FOLDS} for row in rows.order_by()}


def _explain(rows: list[dict[str, Any]], submissions: dict[int, Submission]) -> None:
    """Says of rows without a rank why they have none."""
    failures: dict[int, dict[str, str]] = {}
    failed = SubmissionFold.objects.filter(
        databoard_s__in=[row["id"] for row in rows], job__state__in=[JobState.FAILED, JobState.CANCELLED]
    ).order_by("databoard_s", "cv_fold__number")
    for id, kind, message in failed.distinct("databoard_s").values_list(
        "databoard_s", "job__failure", "job__message"
    ):
        failures[id] = reports.explained(kind, message)
    for row in rows:
        if row["id"] in failures:
            first = failures[row["id"]]
            row["why"] = (
                f"{row['failed']} of {row['folds']} folds failed: {first['kind']}: {first['message']}"
            )
        elif not row["folds"]:
            failure = submitting.failure_of(submissions[row["id"]])
            waits = submitting.waits_for(submissions[row["id"]])
            row["why"] = failure[1] if failure else waits and waits.why
        elif row["done"] < row["folds"]:
            row["why"] = f"{row['folds'] - row['done']} of {row['folds']} folds are still to come."
        else:
            row["why"] = "Its score is no number."


def as_csv(board: Mapping[str, Any]) -> str:
    """The rows of a leaderboard, with every digit."""
    columns = [
        (name, part, value)
        for name in (metric["name"] for metric in board["metrics"])
        for part in ("train", "valid", "test")
        for value in ("mean", "std", "bagged")
        if (part, value) != ("train", "bagged")
        and any(part in row["scores"].get(name, {}) for row in board["submissions"])
    ]
    plain = ("rank", "id", "name", "user", "submitted_at")
    more = ("contributivity", "train_time", "test_time", "folds", "done", "failed", "why")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*plain, *(" ".join(column) for column in columns), *more])
    for row in board["submissions"]:
        values = [row["scores"].get(name, {}).get(part, {}).get(value) for name, part, value in columns]
        writer.writerow(map(_cell, [*(row[name] for name in plain), *values, *(row[name] for name in more)]))
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Text that no spreadsheet takes for a formula."""
    if isinstance(value, datetime):
        return value.isoformat()
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
