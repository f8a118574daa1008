"""Counters for the metrics, kept in the database: every process adds to the same ones.

They are written in batches, inside the transaction of what they count.
"""

import json
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from django.db import connection

from datarun.contract.messages import Outcome
from datarun.contract.states import JobState
from runapp.models import Counter as Counted


@dataclass(frozen=True)
class Histogram:
    """`bounds` are the upper ones of its buckets; above them there is one more, without a bound."""

    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0)

    @cached_property
    def buckets(self) -> tuple[str, ...]:
        """Their names."""
        return (*(f"{bound:g}" for bound in self.bounds), "+Inf")

    def bucket(self, value: float) -> str:
        """The name of the smallest bucket that `value` fits."""
        return self.buckets[bisect_left(self.bounds, value)]


#: What is counted: help and labels of each.
COUNTERS = {
    "datarun_attempts": ("Attempts that ended, by outcome.", ("outcome",)),
    "datarun_dropped": ("Messages that changed nothing, by reason.", ("reason",)),
}
HISTOGRAMS = {
    "datarun_wait_seconds": Histogram("From the post of a job to its start.", ("queue", "kind")),
    "datarun_run_seconds": Histogram("From the start of a job to its end.", ("queue", "kind")),
    "datarun_batch_size": Histogram(
        "Orders or messages in a batch of the scheduler.", ("duty",), (1, 3, 10, 30, 100, 300, 500)
    ),
    "datarun_lag_seconds": Histogram(
        "Dispatch: from the look at what waits to the broker's receipt of the orders. "
        "Collect: from the broker's receipt of a message to its record.",
        ("duty",),
    ),
}

_ADD = """
    INSERT INTO runapp_counter (name, labels, value)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::float8[])
    ON CONFLICT (name, labels) DO UPDATE SET value = runapp_counter.value + excluded.value
"""

#: What `count_ended` wants of a job that has ended.
TIMES = """
    job.queue, job.kind, coalesce(extract(epoch FROM job.started_at - job.created_at)::float8, 0),
    coalesce(extract(epoch FROM job.finished_at - job.started_at)::float8, 0)
"""
_TIMES = f"SELECT {TIMES} FROM runapp_job AS job WHERE id = ANY (%s::uuid[]) AND state = ANY (%s)"

Key = tuple[str, str]
#: Queue and kind of a job, how many seconds it waited and how many it ran.
Times = tuple[str, str, float, float]


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


def count_batch(duty: str, size: int, lags: Iterable[float] = ()) -> None:
    """Counts one batch of the scheduler's `duty`: how much was in it, and how late that was, in seconds."""
    tally: dict[Key, float] = defaultdict(float)
    _observe(tally, "datarun_batch_size", size, duty=duty)
    for lag in lags:
        _observe(tally, "datarun_lag_seconds", lag, duty=duty)
    add(tally)


def count_attempts(outcome: str, number: int) -> None:
    """Counts attempts that ended without an outcome of their own: lost, handed back, cancelled."""
    if number:
        add({("datarun_attempts", labels(outcome=outcome)): number})


def count_dropped(reasons: Iterable[str]) -> None:
    """Counts messages that changed nothing. Unlike their records these numbers only grow."""
    add({("datarun_dropped", labels(reason=reason)): number for reason, number in Counter(reasons).items()})


def reasons_to_drop() -> list[str]:
    """Why messages have been dropped so far."""
    counted = Counted.objects.filter(name="datarun_dropped").values_list("labels", flat=True)
    return sorted(json.loads(label)["reason"] for label in counted)


def count_outcomes(outcomes: Iterable[Outcome]) -> None:
    """Counts recorded outcomes, how long their jobs waited and how long they ran."""
    outcomes = list(outcomes)
    if not outcomes:
        return
    with connection.cursor() as cursor:
        ended = [JobState.SUCCEEDED, JobState.FAILED]
        cursor.execute(_TIMES, [[outcome.job for outcome in outcomes], ended])
        count_ended(outcomes, cursor.fetchall())


def count_ended(outcomes: Iterable[Outcome], times: Iterable[Times]) -> None:
    """The same, where the caller knows the times."""
    tally: dict[Key, float] = defaultdict(float)
    for outcome, number in Counter(outcome.failure or "succeeded" for outcome in outcomes).items():
        tally["datarun_attempts", labels(outcome=outcome)] = number
    for queue, kind, waited, ran in times:
        _observe(tally, "datarun_wait_seconds", waited, queue=queue, kind=kind)
        _observe(tally, "datarun_run_seconds", ran, queue=queue, kind=kind)
    add(tally)


def _observe(tally: dict[Key, float], name: str, value: float, **values: str) -> None:
    """One observation of a histogram: its sum, and the smallest bucket that it fits."""
    value = max(0.0, value)  # the clock may have been set back
    tally[name, labels(**values, le=HISTOGRAMS[name].bucket(value))] += 1
    tally[f"{name}_sum", labels(**values)] += value
