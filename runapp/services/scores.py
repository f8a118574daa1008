"""Scores of folds, and what they are together for each whole submission.

They are written in the transaction that records outcomes.
`SubmissionScore` is true to `Score` after each function here, so that reading a leaderboard computes nothing.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from django.db import connection

from datarun.contract.messages import Outcome
from datarun.contract.metrics import lower_is_better
from runapp import states
from runapp.models import Part, RawData, Record, Score, Submission

#: fold id → part → metric → value.
Scores = Mapping[int, Mapping[str, Mapping[str, float]]]

_PARTS = frozenset(Part)
_LONGEST = 100  # characters of a metric's name
_MOST_FACTS = 64 * 1024

_STORE = """
    INSERT INTO runapp_score (fold_id, metric, part, value)
    SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::float8[])
    ON CONFLICT (fold_id, metric, part) DO UPDATE SET value = excluded.value
"""
# Mean and standard deviation (of the population) to the last bit as numpy has them, which adds fold after fold.
# What is so large that its square is no number any more counts as infinite.
_TOGETHER = """
    WITH scored AS (
        SELECT fold.databoard_s_id AS id, score.metric, score.part, cv.number,
            CASE WHEN abs(score.value) < 1e150 THEN score.value ELSE score.value * 'Infinity' END AS value
        FROM runapp_submissionfold AS fold JOIN runapp_score AS score ON score.fold_id = fold.databoard_sf_id
        JOIN runapp_cvfold AS cv ON cv.id = fold.cv_fold_id
        WHERE fold.databoard_s_id = ANY (%s)
    ), means AS (
        SELECT id, metric, part, count(*) AS folds, avg(value ORDER BY number) AS mean
        FROM scored GROUP BY id, metric, part
    ), added AS (
        SELECT id, metric, part, folds, mean, sqrt(avg((value - mean) * (value - mean) ORDER BY number)) AS std
        FROM means JOIN scored USING (id, metric, part) GROUP BY id, metric, part, folds, mean
    )
    INSERT INTO runapp_submissionscore AS together
        (submission_id, raw_data_id, metric, part, folds, mean, std, curve)
    SELECT id, raw_data_id, metric, part, folds, mean, std, '[]'
    FROM added JOIN runapp_submission AS submission ON submission.databoard_s_id = id
    ON CONFLICT (submission_id, metric, part)
        DO UPDATE SET folds = excluded.folds, mean = excluded.mean, std = excluded.std
"""
_FORGET = """
    DELETE FROM runapp_submissionscore AS together WHERE submission_id = ANY (%s) AND NOT EXISTS (
        SELECT FROM runapp_submissionfold AS fold JOIN runapp_score AS score ON score.fold_id = fold.databoard_sf_id
        WHERE fold.databoard_s_id = together.submission_id
              AND score.metric = together.metric AND score.part = together.part
    )
"""
_BAG = """
    UPDATE runapp_submissionscore AS together SET bagged = said.bagged, curve = said.curve
    FROM json_to_recordset(%s) AS said (part text, metric text, bagged float8, curve jsonb)
    WHERE submission_id = %s AND together.part = said.part AND together.metric = said.metric
"""
_UNBAG = "UPDATE runapp_submissionscore SET bagged = NULL, curve = '[]' WHERE submission_id = ANY (%s)"


def directions(raw_data: RawData) -> dict[str, bool]:
    """The names of its metrics, the official one first → whether less is better."""
    facts: dict[str, Any] = {}
    if raw_data.kit:  # it says of its own metrics; others may have come later
        facts = raw_data.versions.order_by("-requested_at").values_list("facts", flat=True).first() or {}
    own = {metric["name"]: metric["lower_is_better"] for metric in facts.get("metrics", [])}
    return {name: own.get(name, lower_is_better(name)) for name in raw_data.metrics}


class Scored(NamedTuple):
    """A fold that succeeded, with scores."""

    fold: int
    submission: int
    outcome: Outcome


def record(scored: Collection[Scored]) -> set[int]:
    """Stores what these outcomes say; returns the ids of the submissions that they are of."""
    submissions = {each.submission for each in scored}
    lock(submissions)
    store({each.fold: each.outcome.scores for each in scored}, submissions)
    records = [Record(fold_id=each.fold, facts=facts_of(each.outcome)) for each in scored]
    Record.objects.bulk_create(
        records, update_conflicts=True, unique_fields=["fold"], update_fields=["facts"]
    )
    return submissions


def lock(submissions: Collection[int]) -> None:
    """Nobody else adds up these submissions' scores until the transaction ends."""
    rows = Submission.objects.filter(pk__in=submissions).order_by("pk")
    list(rows.select_for_update(no_key=True).values("pk"))


def store(scores: Scores, submissions: Collection[int]) -> None:
    """Stores the scores of folds of these submissions, which are locked."""
    rows = [
        (fold, metric[:_LONGEST], part, value)
        for fold, parts in scores.items()
        for part, metrics in parts.items()
        if part in _PARTS
        for metric, value in metrics.items()
    ]
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(_STORE, [list(column) for column in zip(*rows, strict=True)])
            cursor.execute(_TOGETHER, [list(submissions)])


def forget(folds: Iterable[int], submissions: Collection[int]) -> None:
    """These folds of these submissions, which are locked, have no scores any more."""
    Score.objects.filter(fold__in=list(folds)).delete()
    Record.objects.filter(fold__in=list(folds)).delete()
    add_up(submissions)


def add_up(submissions: Collection[int]) -> None:
    """After folds of these submissions, which are locked, have lost their scores or are gone."""
    with connection.cursor() as cursor:
        for statement in (_FORGET, _TOGETHER, _UNBAG):
            cursor.execute(statement, [list(submissions)])


def bag(submission: int, curves: Mapping[str, Mapping[str, list[float]]]) -> None:
    """The scores of combined predictions: part → metric → of the first fold, the first two, and so on."""
    said = [
        {"part": part, "metric": metric, "bagged": curve[-1], "curve": storable(curve)}
        for part, metrics in curves.items()
        for metric, curve in metrics.items()
        if curve
    ]
    for each in said:  # JSON has no such numbers, PostgreSQL reads them from text
        each["bagged"] = str(each["bagged"])
    with connection.cursor() as cursor:
        cursor.execute(_BAG, [json.dumps(said), submission])


def facts_of(outcome: Outcome) -> dict[str, Any]:
    """What the runner says that it computed with, as it can be stored."""
    facts: dict[str, Any] = storable(dict(outcome.facts))
    if len(json.dumps(facts)) > _MOST_FACTS:
        facts = {"problem": f"What the runner said is larger than {_MOST_FACTS} bytes."}
    return facts | {"runner": outcome.runner}


def storable(value: Any) -> Any:
    """A JSON value without what PostgreSQL can't store: numbers that are not finite are null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return states.storable(value)
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {states.storable(key): storable(item) for key, item in value.items()}
    return value
