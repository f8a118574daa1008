"""A data set's submissions, the best first: read from what has been added up already, a page at a time.

The official metric, on the validation rows, ranks.
"""

import csv
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db import connection

from datarun.contract.states import JobState
from runapp.models import CVFold, Ensemble, Part, RawData, Submission, SubmissionFold, SubmissionScore

from . import raw_data as data_sets
from . import reports, scores, submitting

_FORMULA = ("=", "+", "-", "@", "\t", "\r")

_DONE = f"state = '{JobState.SUCCEEDED}'"
_FOLDS = f"""
    SELECT databoard_s_id, count(*), count(*) FILTER (WHERE {_DONE}),
        count(*) FILTER (WHERE state IN ('{JobState.FAILED}', '{JobState.CANCELLED}')),
        avg(train_time) FILTER (WHERE {_DONE}), avg(test_time) FILTER (WHERE {_DONE})
    FROM unnest(%s::bigint[]) AS wanted (id)
    CROSS JOIN LATERAL (
        SELECT databoard_s_id, job.state, job.train_time, job.test_time
        FROM runapp_submissionfold AS fold JOIN runapp_job AS job ON job.id = fold.job_id
        WHERE fold.databoard_s_id = wanted.id
        OFFSET 0  -- some at a time, by index
    ) AS theirs
    GROUP BY databoard_s_id
"""
# Ranked are submissions all of whose folds have a score that is a number, by the index of that name.
_RANKED = """
    SELECT submission_id AS id, rank() OVER (ORDER BY mean {direction}) AS rank, mean
    FROM runapp_submissionscore
    WHERE raw_data_id = %(raw_data)s AND metric = %(metric)s AND part = 'valid'
          AND folds = %(folds)s AND mean <> 'NaN'
"""
_BEST_FIRST = "SELECT id, rank FROM ({ranked}) AS ranked ORDER BY rank, id LIMIT %(limit)s OFFSET %(offset)s"
_OTHERS = """
    SELECT databoard_s_id, NULL FROM runapp_submission
    WHERE raw_data_id = %(raw_data)s AND whole
          AND NOT EXISTS (SELECT FROM ({ranked}) AS ranked WHERE id = databoard_s_id)
    ORDER BY databoard_s_id LIMIT %(limit)s OFFSET %(offset)s
"""
# Ranks are those among all, whoever is shown.
_HISTORY = """
    SELECT databoard_s_id, rank FROM runapp_submission LEFT JOIN ({ranked}) AS ranked ON id = databoard_s_id
    WHERE raw_data_id = %(raw_data)s AND whole
          AND owner_id = (SELECT id FROM auth_user WHERE username = %(user)s)
    ORDER BY created_at DESC, databoard_s_id DESC LIMIT %(limit)s OFFSET %(offset)s
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


def hide_failures(user: User, raw_data: RawData, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as `user` may see them: why others' folds failed quotes code and log, which is the organiser's."""
    if not reports.is_organiser(user, raw_data):
        for row in rows:
            if row["failed"] and row["user"] != user.username:
                row["why"] = f"{row['failed']} of {row['folds']} folds failed."
    return rows


def _ranks(raw_data: RawData, official: str, lower_is_better: bool, wanted: Wanted) -> dict[int, int | None]:
    """Submission → rank, in the order of the rows."""
    version = data_sets.current_version(raw_data)
    given: dict[str, Any] = {
        "raw_data": raw_data.pk,
        "metric": official,
        "folds": CVFold.objects.filter(prepared=version).count(),
        "limit": wanted.limit,
        "offset": wanted.offset,
        "user": wanted.user,
    }
    ranked = _RANKED.format(direction="ASC" if lower_is_better else "DESC")

    def ask(statement: str) -> list[tuple[int, int | None]]:
        with connection.cursor() as cursor:
            cursor.execute(statement.format(ranked=ranked), given)
            return list(cursor.fetchall())

    if wanted.user is not None:
        return dict(ask(_HISTORY))
    rows = ask(_BEST_FIRST)
    if wanted.limit is None or len(rows) < wanted.limit:
        ((number, _),) = ask("SELECT count(*), NULL FROM ({ranked}) AS ranked")
        given["limit"] = None if wanted.limit is None else wanted.limit - len(rows)
        given["offset"] = max(0, wanted.offset - (number or 0))
        rows += ask(_OTHERS)
    return dict(rows)


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
    with connection.cursor() as cursor:
        cursor.execute(_FOLDS, [list(ids)])
        return {id: dict(zip(_NO_FOLDS, values, strict=True)) for id, *values in cursor.fetchall()}


def _explain(rows: list[dict[str, Any]], submissions: Mapping[int, Submission]) -> None:
    """Says of rows without a rank why they have none."""
    failures: dict[int, dict[str, str]] = {}
    failed = SubmissionFold.objects.filter(
        databoard_s__in=[row["id"] for row in rows if row["failed"]],
        job__state__in=[JobState.FAILED, JobState.CANCELLED],
    ).order_by("databoard_s", "cv_fold__number")
    firsts = failed.distinct("databoard_s").values_list("databoard_s", "job__failure", "job__message")
    for id, kind, message in firsts:
        failures[id] = reports.explained(kind, message)
    for row in rows:
        if row["id"] in failures:
            first = failures[row["id"]]
            row["why"] = (
                f"{row['failed']} of {row['folds']} folds failed: {first['kind']}: {first['message']}"
            )
        elif row["folds"]:
            left = row["folds"] - row["done"]
            row["why"] = (
                f"{left} of {row['folds']} folds are still to come." if left else "Its score is no number."
            )
    without = [row for row in rows if not row["folds"]]
    for made in (True, False):  # those that were cancelled, and those that wait: each for the same reason
        alike = [row for row in without if submissions[row["id"]].folds_made is made]
        why = _why_without(submissions[alike[0]["id"]]) if alike else None
        for row in alike:
            row["why"] = why


def _why_without(submission: Submission) -> str | None:
    """Why a submission has no folds."""
    if failure := submitting.failure_of(submission):
        return failure[1]
    waits = submitting.waits_for(submission)
    return None if waits is None else waits.why


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
