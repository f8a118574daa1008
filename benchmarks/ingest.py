"""How fast outcomes of folds are recorded, beside `psycopg2.extras.execute_values` writing the same rows.

python -m tests.services run postgres -- python -m benchmarks.ingest
"""

import logging
import statistics
import time
import uuid
from collections.abc import Callable

import numpy as np
from psycopg2.extras import execute_values

from . import database

BATCH, ROUNDS = 500, 9
ROWS = (1000, 500)  # of float64: 12 kB of predictions


def main() -> None:
    database.set_up()
    logging.disable(logging.INFO)  # the other side writes no line for each fold
    database.fill(folds=BATCH * 2 * (ROUNDS + 1), waiting=BATCH * 2 * (ROUNDS + 1))
    ours, theirs = [], []
    for number in range(ROUNDS + 1):
        for times, record in ((ours, by_copy), (theirs, by_execute_values)):
            seconds = timed(record, database.start(BATCH))
            if number:  # the first round warms up
                times.append(seconds)
    ratio = statistics.median(slow / fast for fast, slow in zip(ours, theirs, strict=True))
    print(f"batch of {BATCH} outcomes with {sum(ROWS) * 8} bytes of predictions each, median of {ROUNDS}")
    print(
        f"datarun         {statistics.median(ours) * 1000:7.1f} ms {BATCH / statistics.median(ours):8.0f} a second"
    )
    print(
        f"execute_values  {statistics.median(theirs) * 1000:7.1f} ms {BATCH / statistics.median(theirs):8.0f} a second"
    )
    print(f"ratio           {ratio:7.2f}")


def timed(record: Callable[[list[uuid.UUID], dict[str, np.ndarray]], None], ids: list[uuid.UUID]) -> float:
    arrays = {
        part: np.random.default_rng(0).random(rows)
        for part, rows in zip(("train", "test"), ROWS, strict=True)
    }
    started = time.perf_counter()
    record(ids, arrays)
    return time.perf_counter() - started


def by_copy(ids: list[uuid.UUID], arrays: dict[str, np.ndarray]) -> None:
    from datarun.contract.messages import Outcome
    from runapp.services.results import record

    measures = {"train_time": 1.0, "test_time": 1.0}
    record([Outcome(str(id), 2, "bench", measures=measures, arrays=arrays) for id in ids])


def by_execute_values(ids: list[uuid.UUID], arrays: dict[str, np.ndarray]) -> None:
    """The same rows: jobs and folds updated, two predictions a fold inserted, one transaction."""
    from django.db import connection, transaction

    from datarun.contract import npy

    with transaction.atomic(), connection.cursor() as cursor:
        raw = cursor.cursor
        execute_values(
            raw,
            "UPDATE runapp_job AS job SET state = 'succeeded', failure = '', message = said.message, log = said.log, "
            "finished_at = now(), deadline = NULL FROM (VALUES %s) AS said (id, attempt, runner, message, log) "
            "WHERE job.id = said.id::uuid AND job.attempt = said.attempt AND job.runner = said.runner "
            "AND job.state = 'running'",
            [(str(id), 2, "bench", "", "") for id in ids],
            page_size=BATCH,
        )
        execute_values(
            raw,
            "UPDATE runapp_submissionfold AS fold SET train_time = said.train, test_time = said.test "
            "FROM (VALUES %s) AS said (job, train, test) WHERE fold.job_id = said.job::uuid",
            [(str(id), 1.0, 1.0) for id in ids],
            page_size=BATCH,
        )
        execute_values(
            raw,
            "INSERT INTO runapp_prediction (fold_id, part, content) SELECT fold.databoard_sf_id, part, content "
            "FROM (VALUES %s) AS said (job, part, content) "
            "JOIN runapp_submissionfold AS fold ON fold.job_id = said.job::uuid",
            [(str(id), part, npy.dumps(array)) for id in ids for part, array in arrays.items()],
            page_size=2 * BATCH,
        )


if __name__ == "__main__":
    main()
