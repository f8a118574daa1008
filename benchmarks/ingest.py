"""How fast outcomes of folds are recorded, beside the same by `psycopg2.extras.execute_values`.

python -m tests.services run postgres -- python -m benchmarks.ingest
"""

import logging
import statistics
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from psycopg2.extras import execute_values

from . import database

BATCH, ROUNDS = 500, 15
Predictions = Callable[[], Mapping[str, Any]]
ROWS = {"train": 1000, "test": 500}  # of float64: 12 kB of predictions


def main() -> None:
    database.set_up()
    from runapp.services import ingest

    logging.disable(logging.INFO)  # a line for each fold takes the same time on both sides
    folds = BATCH * 2 * (ROUNDS + 1)
    database.fill(folds, waiting=folds)
    print(
        f"{BATCH} outcomes with {sum(ROWS.values()) * 8} bytes of predictions each, median of {ROUNDS} rounds"
    )
    ours = ingest.record  # `timed` puts others in its place
    for name, predictions in PREDICTIONS.items():
        compare(
            f"{name}: recorded with all that belongs to it",
            {"datarun": ours, "execute_values": by_execute_values},
            lambda record, made=predictions: timed(record, made),
        )
        database.fill(folds, waiting=folds)
        numbers = iter(range(1, folds, BATCH))
        compare(
            f"{name}: their rows of predictions alone",
            {"datarun": copy, "execute_values": insert},
            lambda write, made=predictions, numbers=numbers: alone(write, next(numbers), made),
        )
        database.fill(folds, waiting=folds)


def compare(
    what: str, ways: Mapping[str, Callable[..., Any]], measure: Callable[[Callable[..., Any]], float]
) -> None:
    """Measures the ways in turn, and prints how they did."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, way in ways.items():
            taken = measure(way)
            if number:  # the first round warms up
                seconds[name].append(taken)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(what)
    for name, median in medians.items():
        print(f"  {name:15} {median * 1000:7.1f} ms {BATCH / median:8.0f} a second")
    print(f"  ratio           {medians['execute_values'] / medians['datarun']:7.2f}")


# --- outcomes ------------------------------------------------------------------------------------------


def timed(record: Callable[..., Any], predictions: Predictions) -> float:
    """Seconds of `services.results.record`, in which `record` takes the place of `services.ingest.record`."""
    from datarun.contract.messages import Outcome
    from runapp.services import ingest, results

    measures = {"train_time": 1.0, "test_time": 1.0, "train_memory": 100.0}
    outcomes = [
        Outcome(str(id), 1, "bench", measures=measures, arrays=predictions()) for id in database.start(BATCH)
    ]
    ingest.record = record
    started = time.perf_counter()
    assert results.record(outcomes) == []
    return time.perf_counter() - started


def by_execute_values(outcomes: Sequence[Any]) -> set[Any]:
    """`ingest.record` as it would be with `execute_values`: the same rows, conditions and transaction.

    In pages of 100 rows, its default, which is quicker than all rows at once.
    """
    from django.db import connection

    from datarun.contract.messages import MEASURES
    from runapp.services import ingest, metrics

    assigned = ", ".join(f"{name} = said.{name}" for name in MEASURES)
    with connection.cursor() as wrapper:
        cursor = wrapper.cursor
        ended = execute_values(
            cursor,
            "UPDATE runapp_job AS job SET state = CASE WHEN said.failure = '' THEN 'succeeded' ELSE 'failed' END, "
            "stage = said.stage, failure = said.failure, message = said.message, log = said.log, "
            f"finished_at = statement_timestamp(), deadline = NULL, {assigned} FROM (VALUES %s) AS said "
            f"(job, attempt, runner, stage, failure, message, log, {', '.join(MEASURES)}) "
            "WHERE job.id = said.job::uuid AND job.attempt = said.attempt AND job.runner = said.runner "
            f"AND job.state = 'running' RETURNING job.id::text, job.attempt, job.runner, {metrics.TIMES}",
            [tuple(ingest._said(outcome).values()) for outcome in outcomes],
            fetch=True,
        )
        counted = {outcome.job: outcome for outcome in outcomes}
        ids = ingest._array(counted)
        cursor.execute(ingest._FOLDS, [ids])
        insert(cursor, [(fold, counted[job].arrays) for job, fold, _ in cursor.fetchall()])
        cursor.execute(ingest._FORGET_LOG, [ids])
    metrics.count_ended(counted.values(), [row[3:] for row in ended])
    return {row[:3] for row in ended}


# --- predictions ---------------------------------------------------------------------------------------

Rows = Sequence[tuple[int, Mapping[str, Any]]]


def alone(write: Callable[[Any, Rows], None], first: int, predictions: Predictions) -> float:
    """Seconds to write the predictions of `BATCH` folds from `first` on, and commit."""
    from django.db import connection, transaction

    rows = [(fold, predictions()) for fold in range(first, first + BATCH)]
    started = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        write(cursor.cursor, rows)
    return time.perf_counter() - started


def copy(cursor: Any, rows: Rows) -> None:
    from datarun.contract import npy
    from runapp.services import ingest

    binary = (
        (struct.pack(">q", fold), *(npy.dumps(array) for array in arrays.values())) for fold, arrays in rows
    )
    cursor.copy_expert(ingest._PREDICT, ingest._Binary(binary), ingest._PIECE)


def insert(cursor: Any, rows: Rows) -> None:
    from datarun.contract import npy

    values = [(fold, *(npy.dumps(array) for array in arrays.values())) for fold, arrays in rows]
    execute_values(cursor, "INSERT INTO runapp_prediction (fold_id, train, test) VALUES %s", values)


def noise() -> dict[str, Any]:
    """What can't be compressed at all."""
    return {part: _RNG.random(rows) for part, rows in ROWS.items()}


def votes() -> dict[str, Any]:
    """The probabilities of five classes, as a hundred trees vote for them."""
    return {part: _RNG.multinomial(100, _SHARES, rows // 5) / 100 for part, rows in ROWS.items()}


_RNG, _SHARES = np.random.default_rng(0), (0.8, 0.1, 0.05, 0.03, 0.02)
PREDICTIONS: dict[str, Predictions] = {"noise": noise, "probabilities": votes}

if __name__ == "__main__":
    main()
