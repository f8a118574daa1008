"""Folds, runners and what they say, as the scheduler and its services meet them: no API and no broker.

Time passes by moving what the database remembers into the past.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from datarun.contract import queues
from datarun.contract.messages import Claim, HandedBack, Heartbeat, LogChunk, Outcome, StageReached, Stopped
from datarun.contract.states import JobKind, JobState
from runapp import states
from runapp.models import Job, PreparedData, RawData, Runner, SchedulerLease, Submission, SubmissionFold
from runapp.services import blobs, results
from runapp.services.results import Told
from tests.integration.helpers import PATIENCE, in_thread

RUNNER = "runner-1"
ROWS = 8


def user(name: str = "ada") -> User:
    return User.objects.get_or_create(username=name)[0]


def data_set(name: str = "flowers", **fields: Any) -> RawData:
    """A csv data set that nobody has split."""
    given: dict[str, Any] = {"target_column": "y", "workflow_elements": "classifier", "max_rows": 10}
    return RawData.objects.create(name=name, files={"data.csv": blobs.put(b"a,y\n1,1\n")}, **given | fields)


def prepared(name: str = "flowers", **fields: Any) -> PreparedData:
    """A data set whose train part has `ROWS` rows."""
    job = Job.objects.create(
        kind=JobKind.PREPARE, queue=queues.PREPARATION, state=JobState.SUCCEEDED, attempt=1, deadline=None
    )
    rows = {"train_rows": blobs.put(b"train"), "test_rows": blobs.put(b"test")}
    version: PreparedData = PreparedData.objects.create(
        raw_data=data_set(name, **fields), job=job, held_out_test=0.2, n_train=ROWS, n_test=2, files=rows
    )
    return version


def folds(
    version: PreparedData | RawData,
    count: int = 1,
    owner: User | None = None,
    submission: int = 1,
    queue: str = queues.LIGHT,
    **job: Any,
) -> list[SubmissionFold]:
    """Posts so many folds of one submission, which is made if missing. On unprepared data they wait for it."""
    raw_data = version if isinstance(version, RawData) else version.raw_data
    indices = blobs.put(np.arange(3, dtype="<i8").tobytes())
    posted, _ = Submission.objects.get_or_create(
        pk=submission, raw_data=raw_data, defaults={"owner": owner, "files": {"classifier.py": indices}}
    )
    given: dict[str, Any] = {
        "share": f"user {owner.pk if owner else 0}",
        "waits_for_data": version is raw_data,
    }
    last = SubmissionFold.objects.order_by("pk").values_list("pk", flat=True).last() or 0
    jobs = [
        Job(kind=JobKind.FOLD, queue=queue, owner=owner, databoard_sf_id=last + number, **given | job)
        for number in range(1, count + 1)
    ]
    Job.objects.bulk_create(jobs)
    made = [
        SubmissionFold(
            databoard_sf_id=last + number,
            databoard_s=posted,
            job=job,
            prepared=None if version is raw_data else version,
            train_is_id=indices,
            test_is_id=indices,
            priority=queue,
            max_index=2,
        )
        for number, job in enumerate(jobs, start=1)
    ]
    return SubmissionFold.objects.bulk_create(made)


def fold(version: PreparedData | RawData, **given: Any) -> SubmissionFold:
    return folds(version, 1, **given)[0]


def job_of(one: SubmissionFold) -> Job:
    """The fold's job as it is now."""
    return Job.objects.get(pk=one.job_id)


def state_of(one: SubmissionFold) -> str:
    return job_of(one).state


# --- runners -------------------------------------------------------------------------------------------


def live(
    name: str = RUNNER,
    slots: int = 1,
    serves: Sequence[str] = queues.ORDER_QUEUES,
    running: Mapping[str, int] | None = None,
    **more: Any,
) -> list[Told]:
    """The runner's heartbeat is heard."""
    return results.note(
        [Heartbeat(name, tuple(serves), slots, dict(running or {}), {"numpy": "2.0"}, **more)]
    )


def queued(*some: SubmissionFold) -> None:
    """Their orders are in the broker."""
    ids = {one.job_id for one in some}
    assert states.queue(ids) == ids


def claim(one: SubmissionFold, runner: str = RUNNER) -> Claim:
    return Claim(*_attempt(one), runner)


def running(one: SubmissionFold, runner: str = RUNNER) -> None:
    """A runner has taken the fold's order."""
    queued(one)
    assert results.record([claim(one, runner)]) == []


def outcome(one: SubmissionFold, runner: str = RUNNER, **said: Any) -> Outcome:
    """How the current attempt ended: well, with predictions, if nothing else is said."""
    if "failure" not in said and "array_blobs" not in said:
        said = {"arrays": {"train": np.arange(6.0), "test": np.arange(2.0)}} | said
    return Outcome(*_attempt(one), runner, **said)


def handed_back(one: SubmissionFold, runner: str = RUNNER) -> HandedBack:
    return HandedBack(*_attempt(one), runner)


def stopped(one: SubmissionFold, runner: str = RUNNER) -> Stopped:
    return Stopped(*_attempt(one), runner)


def stage(one: SubmissionFold, name: str, runner: str = RUNNER) -> StageReached:
    return StageReached(*_attempt(one), runner, name)


def log_chunk(one: SubmissionFold, offset: int, text: str, runner: str = RUNNER) -> LogChunk:
    return LogChunk(*_attempt(one), runner, offset, text)


def _attempt(one: SubmissionFold) -> tuple[str, int]:
    job = job_of(one)
    return str(job.pk), job.attempt


# --- time ----------------------------------------------------------------------------------------------


def later(**time: float) -> None:
    """So much time (as for `timedelta`) passes, in which nothing happens."""
    passed = timedelta(**time)
    job_times = ("created_at", "queued_at", "started_at", "finished_at", "deadline", "not_before")
    Job.objects.update(**{name: F(name) - passed for name in job_times})
    Runner.objects.update(last_seen=F("last_seen") - passed)
    SchedulerLease.objects.update(until=F("until") - passed)


def overdue(*ids: UUID) -> None:
    """The deadlines of these jobs are over."""
    Job.objects.filter(pk__in=ids, deadline__isnull=False).update(deadline=Now() - timedelta(seconds=1))


# --- at the same moment --------------------------------------------------------------------------------


def while_uncommitted(first: Callable[[], object], then: Callable[[], object]) -> None:
    """`then` begins after `first` has written, waits for a row of it, and goes on when that is committed."""
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            first()
            future = in_thread(pool, then)
            until = time.monotonic() + PATIENCE
            while not _somebody_waits():
                assert not future.done(), "it waited for nothing"
                assert time.monotonic() < until, "it waits for no lock"
        future.result(PATIENCE)


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])
