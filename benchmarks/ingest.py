"""How fast outcomes of folds are recorded, beside the same writes by `psycopg2.extras.execute_values`.

python -m tests.services run postgres -- python -m benchmarks.ingest
"""

import logging
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from psycopg2.extras import execute_values

from . import database

BATCH, ROUNDS = 500, 15
ROWS = {"train": 1000, "test": 500}  # of float64: 12 kB of predictions


def main() -> None:
    database.set_up()
    from runapp.services import ingest

    logging.disable(logging.INFO)  # a line for each fold takes the same time on both sides
    database.fill(folds=BATCH * 2 * (ROUNDS + 1), waiting=BATCH * 2 * (ROUNDS + 1))
    ways = {"datarun": ingest.record, "execute_values": by_execute_values}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, ingest.record in ways.items():
            taken = timed(database.start(BATCH))
            if number:  # the first round warms up
                seconds[name].append(taken)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(
        f"batch of {BATCH} outcomes with {sum(ROWS.values()) * 8} bytes of predictions each, median of {ROUNDS}"
    )
    for name, median in medians.items():
        print(f"{name:15} {median * 1000:7.1f} ms {BATCH / median:8.0f} a second")
    print(f"ratio           {medians['execute_values'] / medians['datarun']:7.2f}")


def timed(ids: Sequence[Any]) -> float:
    """Seconds to record the outcomes of these jobs, with all that belongs to it; only `ingest.record` differs."""
    from datarun.contract.messages import Outcome
    from runapp.services import results

    rng = np.random.default_rng(0)
    measures = {"train_time": 1.0, "test_time": 1.0, "train_memory": 100.0}
    outcomes = [
        Outcome(
            str(id),
            1,
            "bench",
            measures=measures,
            arrays={part: rng.random(rows) for part, rows in ROWS.items()},
        )
        for id in ids
    ]
    started = time.perf_counter()
    assert results.record(outcomes) == []
    return time.perf_counter() - started


def by_execute_values(outcomes: Sequence[Any]) -> set[Any]:
    """`ingest.record` as it would be with `execute_values`: the same rows, conditions and transaction."""
    from django.db import connection

    from datarun.contract import npy
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
            page_size=len(outcomes),
            fetch=True,
        )
        counted = {outcome.job: outcome for outcome in outcomes}
        ids = ingest._array(counted)
        cursor.execute(ingest._FOLDS, [ids])
        folds = [(fold, counted[job]) for job, fold, _ in cursor.fetchall()]
        execute_values(
            cursor,
            "INSERT INTO runapp_prediction (fold_id, train, test) VALUES %s",
            [(fold, *(npy.dumps(outcome.arrays[part]) for part in ROWS)) for fold, outcome in folds],
            page_size=len(folds),
        )
        cursor.execute(ingest._FORGET_LOG, [ids])
    metrics.count_ended(counted.values(), [row[3:] for row in ended])
    return {row[:3] for row in ended}


if __name__ == "__main__":
    main()
