"""Counters for the metrics, kept in the database: every process adds to the same ones.

They are written in batches, inside the transaction of what they count.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache

from django.db import connection

from datarun.contract.messages import Outcome
from datarun.contract.states import JobState

#: Upper bounds of the histograms' buckets, in seconds.
BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0)

_ADD = """
    INSERT INTO runapp_counter (name, labels, value)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::float8[])
    ON CONFLICT (name, labels) DO UPDATE SET value = runapp_counter.value + excluded.value
"""

_TIMES = """
    SELECT queue, kind, extract(epoch FROM started_at - created_at), extract(epoch FROM finished_at - started_at)
    FROM runapp_job WHERE id = ANY (%s::uuid[]) AND state = ANY (%s)
"""

Key = tuple[str, str]


@lru_cache(maxsize=1024)
def labels(**values: str) -> str:
    """Labels as they are stored: one text for the same labels."""
    return json.dumps(values, sort_keys=True)


def add(numbers: Mapping[Key, float]) -> None:
    """Adds to the counters with these names and labels."""
    if not numbers:
        return
    rows = sorted((name, label, value) for (name, label), value in numbers.items())
    with connection.cursor() as cursor:
        cursor.execute(_ADD, [list(column) for column in zip(*rows, strict=True)])


def count_batch(duty: str, size: int) -> None:
    """Counts one batch of the scheduler's `duty`, and how much was in it."""
    add({("datarun_batches", labels(duty=duty)): 1, ("datarun_batch_items", labels(duty=duty)): size})


def count_attempts(outcome: str) -> None:
    """Counts one attempt that ended without an outcome of its own: lost, handed back, cancelled."""
    add({("datarun_attempts", labels(outcome=outcome)): 1})


def count_dropped(reasons: Iterable[str]) -> None:
    """Counts messages that changed nothing. Unlike their records these numbers only grow."""
    add({("datarun_dropped", labels(reason=reason)): number for reason, number in Counter(reasons).items()})


def count_outcomes(outcomes: Iterable[Outcome]) -> None:
    """Counts recorded outcomes, how long their jobs waited and how long they ran."""
    outcomes = list(outcomes)
    if not outcomes:
        return
    tally: dict[Key, float] = defaultdict(float)
    for outcome in outcomes:
        tally["datarun_attempts", labels(outcome=outcome.failure or "succeeded")] += 1
    with connection.cursor() as cursor:
        ended = [JobState.SUCCEEDED, JobState.FAILED]
        cursor.execute(_TIMES, [[outcome.job for outcome in outcomes], ended])
        for queue, kind, waited, ran in cursor.fetchall():
            _observe(tally, "datarun_wait_seconds", float(waited or 0), queue=queue, kind=kind)
            _observe(tally, "datarun_run_seconds", float(ran or 0), queue=queue, kind=kind)
    add(tally)


def _observe(tally: dict[Key, float], name: str, seconds: float, **values: str) -> None:
    """One observation of a histogram: its sum, and the smallest bucket that it fits."""
    bound = next((bound for bound in BUCKETS if seconds <= bound), None)
    tally[name, labels(**values, le="+Inf" if bound is None else f"{bound:g}")] += 1
    tally[f"{name}_sum", labels(**values)] += seconds
