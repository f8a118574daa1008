"""Many outcomes of folds at once: one guarded statement for each table, and binary COPY for the predictions.

An outcome counts only if its job is running this attempt on this runner; the first one counts.
"""

import logging
import struct
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from typing import Any

from django.db import connection

from datarun.contract import npy
from datarun.contract.messages import Outcome, Result
from datarun.contract.states import JobState
from runapp import states
from runapp.models import Prediction

from . import blobs, metrics

logger = logging.getLogger(__name__)

Key = tuple[str, int, str]

_MEASURES = (
    *("train_time", "validation_time", "test_time"),
    *("train_cpu_time", "test_cpu_time", "train_memory", "test_memory"),
)
_FINISH = f"""
    UPDATE runapp_job AS job
    SET state = CASE WHEN said.failure = '' THEN '{JobState.SUCCEEDED}' ELSE '{JobState.FAILED}' END,
        stage = said.stage, failure = said.failure, message = said.message, log = said.log,
        finished_at = statement_timestamp(), deadline = NULL
    FROM unnest(%s::uuid[], %s::integer[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
        AS said (job, attempt, runner, stage, failure, message, log)
    WHERE job.id = said.job AND job.attempt = said.attempt AND job.runner = said.runner
          AND job.state = '{JobState.RUNNING}'
    RETURNING job.id, job.attempt, job.runner
"""
_MEASURE = f"""
    UPDATE runapp_submissionfold AS fold SET {", ".join(f"{name} = said.{name}" for name in _MEASURES)}
    FROM unnest(%s::uuid[], {", ".join("%s::float8[]" for _ in _MEASURES)}) AS said (job, {", ".join(_MEASURES)})
    WHERE fold.job_id = said.job
    RETURNING fold.job_id, fold.databoard_sf_id, fold.databoard_s_id
"""
# A fold that was run again may have predictions of an earlier attempt.
_FORGET_PREDICTIONS = "DELETE FROM runapp_prediction WHERE fold_id = ANY (%s)"
_PREDICT = "COPY runapp_prediction (fold_id, part, content) FROM STDIN WITH BINARY"
_FORGET_LOG = "DELETE FROM runapp_logpiece WHERE job_id = ANY (%s::uuid[])"


def record(outcomes: Sequence[Outcome]) -> set[Key]:
    """running → succeeded or failed, with measures and predictions; in the caller's transaction.

    Returns the keys of those whose attempt was running; the others changed nothing.
    """
    said = {key(outcome): outcome for outcome in reversed(outcomes)}  # of duplicates the first counts
    with connection.cursor() as cursor:
        # In the order of their ids, like whoever else locks several jobs.
        cursor.execute(_FINISH, _columns(sorted(map(_texts, said.values()))))
        accepted = {(str(job), attempt, runner) for job, attempt, runner in cursor.fetchall()}
        if not accepted:
            return accepted
        counted = {outcome.job: outcome for name, outcome in said.items() if name in accepted}
        cursor.execute(_MEASURE, _columns(map(_measures, counted.values())))
        folds = cursor.fetchall()
        cursor.execute(_FORGET_PREDICTIONS, [[fold for _, fold, _ in folds]])
        rows = (row for job, fold, _ in folds for row in _predictions(fold, counted[str(job)]))
        cursor.copy_expert(_PREDICT, BytesIO(_binary(rows)))
        cursor.execute(_FORGET_LOG, [list(counted)])
    for job, fold, submission in folds:
        _say(counted[str(job)], fold, submission)
    metrics.count_outcomes(counted.values())
    return accepted


def _say(outcome: Outcome, fold: int, submission: int) -> None:
    about = {"job": outcome.job, "attempt": outcome.attempt, "runner": outcome.runner}
    text = "fold %s of submission %s: %s (job %s, attempt %s, runner %s)"
    ended = outcome.failure or "succeeded"
    logger.info(
        text, fold, submission, ended, *about.values(), extra=about | {"fold": fold, "submission": submission}
    )


def key(result: Result) -> Key:
    """What names an attempt on a runner."""
    return (result.job, result.attempt, result.runner)


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    """The rows' columns, as arrays for `unnest`."""
    return [list(column) for column in zip(*rows, strict=True)]


def _texts(outcome: Outcome) -> tuple[Any, ...]:
    texts = (outcome.message, outcome.log)
    return (*key(outcome), outcome.stage, outcome.failure or "", *map(states.storable, texts))


def _measures(outcome: Outcome) -> tuple[Any, ...]:
    return (outcome.job, *(outcome.measures.get(name, 0.0) for name in _MEASURES))


def _predictions(fold: int, outcome: Outcome) -> Iterator[tuple[bytes, bytes, bytes]]:
    """The rows (fold, part, content) of what the outcome brought, as binary COPY wants them."""
    for part in (Prediction.TRAIN, Prediction.TEST):
        content = _content(outcome, part)
        if outcome.failure is None and content is not None:
            yield struct.pack(">q", fold), part.encode(), content


def _content(outcome: Outcome, part: str) -> bytes | None:
    if part in outcome.arrays:
        return npy.dumps(outcome.arrays[part])
    if part in outcome.array_blobs:
        content = blobs.get(outcome.array_blobs[part])
        npy.loads(content)  # not stored unless it can be read again
        return content
    return None


def _binary(rows: Iterable[Sequence[bytes]]) -> bytes:
    """PostgreSQL's binary COPY format (documentation of COPY, "Binary Format").

    The library that would do this, pgcopy, needs psycopg2 built from source.
    """
    pieces = [b"PGCOPY\n\xff\r\n\0", struct.pack(">ii", 0, 0)]
    for row in rows:
        pieces.append(struct.pack(">h", len(row)))
        for field in row:
            pieces += (struct.pack(">i", len(field)), field)
    pieces.append(struct.pack(">h", -1))
    return b"".join(pieces)
