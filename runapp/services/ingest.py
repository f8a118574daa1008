"""Many outcomes of folds at once: one guarded statement, and binary COPY for the predictions.

An outcome counts only if its job is running this attempt on this runner; the first one counts.
"""

import json
import logging
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from django.db import connection

from datarun.contract import npy, predictions
from datarun.contract.messages import MEASURES, Outcome
from datarun.contract.states import JobState
from runapp import states

from . import blobs, ensembles, metrics, records, scores
from .scores import Scored

logger = logging.getLogger(__name__)

_FINISH = f"""
    UPDATE runapp_job AS job
    SET state = CASE WHEN said.failure = '' THEN '{JobState.SUCCEEDED}' ELSE '{JobState.FAILED}' END,
        stage = said.stage, failure = said.failure, message = said.message, log = said.log,
        finished_at = statement_timestamp(), deadline = NULL, {", ".join(f"{name} = said.{name}" for name in MEASURES)}
    FROM json_to_recordset(%s)
        AS said (job uuid, attempt integer, runner text, stage text, failure text, message text, log text,
                 {", ".join(f"{name} float8" for name in MEASURES)})
    WHERE job.id = said.job AND job.attempt = said.attempt AND job.runner = said.runner
          AND job.state = '{JobState.RUNNING}'
    RETURNING job.id::text, job.attempt, job.runner, {metrics.TIMES}
"""
_FOLDS = """
    SELECT job_id::text, databoard_sf_id, databoard_s_id FROM runapp_submissionfold
    WHERE job_id = ANY (%s::uuid[])
"""
# A fold that was run again may have predictions of an earlier attempt.
_FORGET_PREDICTIONS = "DELETE FROM runapp_prediction WHERE fold_id = ANY (%s::bigint[])"
_PREDICT = "COPY runapp_prediction (fold_id, train, test) FROM STDIN WITH BINARY"
_FORGET_LOG = "DELETE FROM runapp_logpiece WHERE job_id = ANY (%s::uuid[])"
_PIECE = 1 << 18  # bytes that are made and sent at a time, while the server stores those before


def record(outcomes: Sequence[Outcome]) -> set[states.Key]:
    """running → succeeded or failed, with measures and predictions; in the caller's transaction.

    Returns the keys of those whose attempt was running; the others changed nothing.
    """
    said = {states.key(outcome): outcome for outcome in reversed(outcomes)}  # of duplicates the first counts
    with connection.cursor() as cursor:
        # In the order of their ids, like whoever else locks several jobs.
        cursor.execute(_FINISH, [json.dumps([_said(said[name]) for name in sorted(said)])])
        ended = cursor.fetchall()
        if not ended:
            return set()
        accepted = {row[:3]: row[3:] for row in ended}
        counted = {name[0]: said[name] for name in accepted}
        ids = _array(counted)
        cursor.execute(_FOLDS, [ids])
        folds = [(fold, submission, counted[job]) for job, fold, submission in cursor.fetchall()]
        if again := [str(fold) for fold, _, outcome in folds if outcome.attempt > 1]:
            cursor.execute(_FORGET_PREDICTIONS, [_array(again)])
        succeeded = [(fold, outcome) for fold, _, outcome in folds if outcome.failure is None]
        uploaded = _uploaded(outcome for _, outcome in succeeded)  # while the connection can be used
        rows = (_predictions(fold, outcome, uploaded) for fold, outcome in succeeded)
        cursor.copy_expert(_PREDICT, _Binary(rows), _PIECE)
        cursor.execute(_FORGET_LOG, [ids])
    if scored := [Scored(*each) for each in folds if each[2].failure is None and each[2].scores]:
        ensembles.want_bagging(scores.record(scored))
    if len(folds) < len(counted):  # some are no folds' own
        records.compare(counted)
    for fold, submission, outcome in folds:
        _say(outcome, fold, submission)
    metrics.count_ended(counted.values(), accepted.values())
    return set(accepted)


def _array(ids: Iterable[str]) -> str:
    """Ids from the database as an array's text, which is parsed in a fraction of the time that an expression takes."""
    return f"{{{','.join(ids)}}}"


def _say(outcome: Outcome, fold: int, submission: int) -> None:
    about = {"job": outcome.job, "attempt": outcome.attempt, "runner": outcome.runner}
    text = "fold %s of submission %s: %s (job %s, attempt %s, runner %s)"
    ended = outcome.failure or "succeeded"
    logger.info(
        text, fold, submission, ended, *about.values(), extra=about | {"fold": fold, "submission": submission}
    )


def _said(outcome: Outcome) -> dict[str, Any]:
    measures = ((name, outcome.measures.get(name, 0.0)) for name in MEASURES)
    return {
        "job": outcome.job,
        "attempt": outcome.attempt,
        "runner": outcome.runner,
        "stage": outcome.stage,
        "failure": outcome.failure or "",
        "message": states.storable(outcome.message),
        "log": states.storable(outcome.log),
        **{name: value if math.isfinite(value) else 0.0 for name, value in measures},
    }


def _uploaded(outcomes: Iterable[Outcome]) -> dict[str, bytes]:
    """The predictions that came as blobs: too large for their messages, or ragged. Raises unless they can be read."""
    contents = {}
    for outcome in outcomes:
        for name in outcome.array_blobs.values():
            contents[name] = blobs.get(name)
            predictions.loads(contents[name])
    return contents


def _predictions(fold: int, outcome: Outcome, uploaded: Mapping[str, bytes]) -> tuple[bytes | None, ...]:
    """The row (fold, train, test) as binary COPY wants it."""
    contents = {part: npy.dumps(array) for part, array in outcome.arrays.items()}
    contents |= {part: uploaded[name] for part, name in outcome.array_blobs.items()}
    return struct.pack(">q", fold), contents.get("train"), contents.get("test")


class _Binary:
    """A file of rows in PostgreSQL's binary COPY format (documentation of COPY, "Binary Format"), made as it is read.

    The library that would do this, pgcopy, needs psycopg2 built from source.
    """

    def __init__(self, rows: Iterable[Sequence[bytes | None]]) -> None:
        self._pieces = _binary(rows)

    def read(self, size: int) -> bytes:
        """`size` bytes and some more; fewer only at the end."""
        pieces, length = [], 0
        for piece in self._pieces:
            pieces.append(piece)
            length += len(piece)
            if length >= size:
                break
        return b"".join(pieces)


def _binary(rows: Iterable[Sequence[bytes | None]]) -> Iterator[bytes]:
    yield b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
    for row in rows:
        yield struct.pack(">h", len(row))
        for field in row:
            yield struct.pack(">i", -1 if field is None else len(field))
            yield field or b""
    yield struct.pack(">h", -1)
