"""The job state machine: the only writer of `Job.state` (`services.ingest` does `finish` for many at a time).

    created ──queue──► queued ──claim──► running ──finish──► succeeded
       ▲                 │                  ├───────────────► failed
       └── attempt + 1 ◄─┴── lost, handed back
    created, queued ──cancel──► cancelled ◄── stopped ── running, cancel requested

Every transition is a compare-and-set: it names the state (and attempt, and runner) that it expects, and
returns False, or leaves the row out of what it returns, when somebody else was first. Callers decide what
that means; nothing here publishes, sends or reads predictions.

Every state that is not terminal has a deadline; `overdue` finds those that outlived it.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from datarun.contract.failures import FailureKind
from datarun.contract.messages import Claim, HandedBack, Outcome, Result, StageReached, Stopped
from datarun.contract.states import TERMINAL_STATES, JobState, Stage

from .models import WAIT_LIMIT, Attempt, Job, LogPiece

#: How long a queued order may go unclaimed before somebody looks whether it is lost.
QUEUED_FOR = timedelta(seconds=15)
#: A running job whose runner has been silent for this long is taken for lost.
LEASE = timedelta(seconds=12)
#: How long a runner may take to fetch and store what an attempt needs and makes, when the master is away meanwhile.
_TRANSFERS = timedelta(hours=1)
#: How many attempts may be lost through no fault of the job before it ends with that failure.
MAX_LOSSES = 3

WAITING = (JobState.CREATED, JobState.QUEUED)
IN_FLIGHT = (JobState.QUEUED, JobState.RUNNING)
UNFINISHED = (JobState.CREATED, JobState.QUEUED, JobState.RUNNING)
#: The outcome of an attempt whose runner left; it is no state of a job.
HANDED_BACK = "handed back"

#: What names an attempt on a runner: job, attempt, runner.
Key = tuple[str, int, str]


_QUEUE = f"""
    UPDATE runapp_job
    SET state = '{JobState.QUEUED}', attempt = attempt + 1, queued_at = statement_timestamp(),
        deadline = statement_timestamp() + make_interval(secs => %s)
    WHERE id IN (
        SELECT id FROM runapp_job WHERE id = ANY (%s::uuid[]) AND state = '{JobState.CREATED}' AND NOT waits_for_data
        FOR UPDATE SKIP LOCKED
    )
    RETURNING id
"""
_CLAIM = f"""
    UPDATE runapp_job AS job
    SET state = '{JobState.RUNNING}', stage = '{Stage.STARTED}', runner = said.runner,
        started_at = statement_timestamp(), deadline = statement_timestamp() + make_interval(secs => %s)
    FROM unnest(%s::uuid[], %s::integer[], %s::text[]) AS said (job, attempt, runner)
    WHERE job.id = said.job AND job.attempt = said.attempt
          AND job.state = '{JobState.QUEUED}' AND NOT job.cancel_requested
"""
_END = """
    UPDATE runapp_job AS job
    SET state = said.outcome, failure = said.failure, message = said.message, log = said.log, losses = said.losses,
        finished_at = statement_timestamp(), deadline = NULL
    FROM json_to_recordset(%s)
        AS said (job uuid, outcome text, failure text, message text, log text, losses integer)
    WHERE job.id = said.job
"""
_CANCELLED = "It was cancelled."
_REACH = f"""
    UPDATE runapp_job AS job SET stage = said.stage
    FROM unnest(%s::uuid[], %s::integer[], %s::text[], %s::text[]) AS said (job, attempt, runner, stage)
    WHERE job.id = said.job AND job.attempt = said.attempt AND job.runner = said.runner
          AND job.state = '{JobState.RUNNING}'
"""


def key(result: Result) -> Key:
    """Which attempt on which runner the result is of."""
    return (result.job, result.attempt, result.runner)


def queue(ids: Iterable[UUID]) -> set[UUID]:
    """created → queued, as a new attempt; returns the ids of those that were still created."""
    with connection.cursor() as cursor:
        cursor.execute(_QUEUE, [QUEUED_FOR.total_seconds(), list(ids)])
        return {id for (id,) in cursor.fetchall()}


def give_back(jobs: Iterable[Job]) -> None:
    """queued → created: the orders of these attempts could not be published."""
    for attempt, group in groupby(sorted(jobs, key=_attempt), key=_attempt):
        queued = Job.objects.filter(pk__in=[job.pk for job in group], attempt=attempt, state=JobState.QUEUED)
        queued.update(**_waiting_again())


def claim(claims: Sequence[Claim]) -> set[Claim]:
    """queued → running: the first recorded claim of an attempt wins; the winner may repeat it.

    Returns the claims that hold: the others work for nothing.
    """
    first = {(claim.job, claim.attempt): claim.runner for claim in reversed(claims)}
    with connection.cursor() as cursor:
        cursor.execute(
            _CLAIM, [LEASE.total_seconds(), *_columns((*key, runner) for key, runner in first.items())]
        )
    running = Job.objects.filter(pk__in={claim.job for claim in claims}, state=JobState.RUNNING)
    held = {(str(id), *rest) for id, *rest in running.values_list("pk", "attempt", "runner")}
    return {claim for claim in claims if (claim.job, claim.attempt, claim.runner) in held}


def reach(stages: Sequence[StageReached]) -> None:
    """Running attempts have come to these stages."""
    latest = {(event.job, event.attempt, event.runner): Stage(event.stage) for event in stages}
    with connection.cursor() as cursor:
        cursor.execute(_REACH, _columns((*key, stage) for key, stage in latest.items()))


def renew(ids: Iterable[str], runner: str) -> None:
    """The runner lives and works on these jobs: their leases go on, unless it ought to have ended them long ago."""
    running = Job.objects.filter(id__in=list(ids), state=JobState.RUNNING, runner=runner)
    running.filter(started_at__gt=Now() - longest()).update(deadline=Now() + LEASE)


def longest() -> timedelta:
    """For how long an attempt may run, whatever its runner says: it loads the data, runs, and moves blobs."""
    return 2 * timedelta(seconds=settings.FOLD_TIME_LIMIT) + _TRANSFERS


def outdated(attempts: Mapping[str, int], runner: str) -> list[str]:
    """Of the attempts (job → attempt) that `runner` works on, the jobs that are past them or run elsewhere.

    One that is still queued may be its: its claim may be on its way.
    """
    known = Job.objects.filter(pk__in=list(attempts)).values_list("pk", "attempt", "state", "runner")
    return [
        str(id)
        for id, attempt, state, holder in known
        if (attempt, state) != (attempts[str(id)], JobState.QUEUED)
        and (attempt, state, holder) != (attempts[str(id)], JobState.RUNNING, runner)
    ]


def finish(outcome: Outcome) -> bool:
    """running → succeeded or failed, by an outcome that is final."""
    current = Job.objects.filter(
        id=outcome.job, attempt=outcome.attempt, state=JobState.RUNNING, runner=outcome.runner
    )
    state = JobState.SUCCEEDED if outcome.failure is None else JobState.FAILED
    texts = {"message": storable(outcome.message), "log": storable(outcome.log)}
    if not current.update(**_ended(state), stage=outcome.stage, failure=outcome.failure or "", **texts):
        return False
    LogPiece.objects.filter(job_id=outcome.job).delete()
    return True


@transaction.atomic
def retry(outcomes: Sequence[Outcome]) -> set[Key]:
    """running → created for another attempt, or → failed after too many: they failed through no fault of theirs."""
    said = {key(outcome): outcome for outcome in reversed(outcomes)}
    held = _held(said)
    ends = {}
    for name, job in held.items():
        texts = map(storable, (said[name].message, said[name].log))
        ends[job] = _End(JobState.FAILED, str(said[name].failure), *texts)
    _set_back(ends)
    return set(held)


@transaction.atomic
def hand_back(returned: Iterable[HandedBack]) -> set[Key]:
    """running → created: their runner leaves. The attempts count as no loss."""
    held = _held({key(result) for result in returned})
    _set_back(
        {
            job: _End(HANDED_BACK, FailureKind.LOST, f"Handed back by {job.runner}, which was stopped.")
            for job in held.values()
        }
    )
    return set(held)


@transaction.atomic
def stop(confirmed: Iterable[Stopped]) -> set[Key]:
    """running → cancelled: their runner confirms that no process of them is left."""
    held = _held({key(result) for result in confirmed})
    logs = _take_logs(held.values())
    _end({job: _cancelled(logs[job.pk]) for job in held.values()})
    return set(held)


@transaction.atomic
def lose(lost: Mapping[UUID, tuple[int, str]]) -> set[UUID]:
    """queued or running → created for another attempt, or → failed after too many: nobody answers for these attempts.

    `lost` says which attempt of each, and why. Only once its deadline is over: what was heard of it meanwhile counts.
    """
    current = overdue().filter(id__in=list(lost), state__in=IN_FLIGHT).order_by("pk").select_for_update()
    held = [job for job in current if job.attempt == lost[job.pk][0]]
    _set_back({job: _End(JobState.FAILED, FailureKind.LOST, lost[job.pk][1]) for job in held})
    return {job.pk for job in held}


@transaction.atomic
def cancel(jobs: QuerySet[Job]) -> int:
    """created, queued → cancelled; running ones are flagged, and end when their runners confirm it."""
    unfinished = _in(jobs).filter(state__in=UNFINISHED).order_by("pk").select_for_update()
    held = Job.objects.filter(pk__in=list(unfinished.values_list("pk", flat=True)))
    held.filter(state__in=WAITING).update(**_ended(JobState.CANCELLED))
    return held.update(cancel_requested=True)


def fail_waiting(jobs: QuerySet[Job], kind: FailureKind, message: str) -> int:
    """created → failed: they can't ever start. Returns how many."""
    return (
        _in(jobs)
        .filter(state=JobState.CREATED)
        .update(**_ended(JobState.FAILED), failure=kind, message=message, waits_for_data=False)
    )


def release(jobs: QuerySet[Job]) -> int:
    """Their data is prepared: they may be queued now. Returns how many."""
    return _in(jobs).filter(state=JobState.CREATED, waits_for_data=True).update(waits_for_data=False)


@transaction.atomic
def rerun(jobs: QuerySet[Job], waits_for_data: bool = False, pause: timedelta = timedelta(0)) -> set[UUID]:
    """failed, cancelled or succeeded → created, because somebody wants it; what was before is kept. Returns which."""
    ended = _in(jobs).filter(state__in=TERMINAL_STATES).order_by("pk").select_for_update()
    _archive({job: _End(job.state, job.failure, job.message, job.log) for job in ended if job.attempt})
    ids = {job.pk for job in ended}
    Job.objects.filter(pk__in=ids).update(
        **_waiting_again(),
        losses=0,
        cancel_requested=False,
        waits_for_data=waits_for_data,
        failure="",
        message="",
        log="",
        runner="",
        finished_at=None,
        created_at=Now(),
        not_before=Now() + pause,
    )
    return ids


def hasten(jobs: QuerySet[Job], pause: timedelta) -> None:
    """Those that wait for a longer pause than this, not because they were lost, wait for this one only."""
    waiting = _in(jobs).filter(state=JobState.CREATED, losses=0, not_before__gt=Now() + pause)
    waiting.update(not_before=Now() + pause)


def still_queued(ids: Iterable[UUID]) -> int:
    """Their orders wait for a slot, and may: to be looked at again later. Returns how many."""
    queued = overdue().filter(id__in=list(ids), state=JobState.QUEUED)
    return queued.update(deadline=Now() + QUEUED_FOR)


def overdue() -> QuerySet[Job]:
    """Jobs whose state has outlived its deadline, by the database's clock."""
    return Job.objects.filter(state__in=UNFINISHED, deadline__lt=Now())


def printed(job: Job) -> str:
    """What has arrived of the running attempt's log."""
    pieces = LogPiece.objects.filter(job=job, attempt=job.attempt).order_by("offset")
    return "".join(pieces.values_list("text", flat=True))


def storable(text: str) -> str:
    """`text` without what PostgreSQL can't store: NUL, and halves of characters."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _in(jobs: QuerySet[Job]) -> QuerySet[Job]:
    """The same jobs, whatever tables `jobs` joins: to be filtered further by their state.

    PostgreSQL checks a condition again on a row that it had to wait for, but not one inside of a subquery, which
    is where Django puts the conditions of an update over several tables.
    """
    return Job.objects.filter(pk__in=jobs.order_by().values("pk"))


def _attempt(job: Job) -> int:
    return job.attempt


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    """The rows' columns, as arrays for `unnest`."""
    return [list(column) for column in zip(*rows, strict=True)]


def _ended(state: JobState) -> dict[str, Any]:
    ended = {"state": state, "finished_at": Now(), "deadline": None}
    return ended | {"message": _CANCELLED} if state == JobState.CANCELLED else ended


def _waiting_again() -> dict[str, Any]:
    return {
        "state": JobState.CREATED,
        "stage": Stage.STARTED,
        "deadline": Now() + WAIT_LIMIT,
        "queued_at": None,
        "started_at": None,
    }


def _held(keys: Collection[Key]) -> dict[Key, Job]:
    """The jobs that run these attempts on these runners, locked."""
    running = Job.objects.filter(pk__in={job for job, _, _ in keys}, state=JobState.RUNNING)
    locked = (
        (str(job.pk), job.attempt, job.runner, job) for job in running.order_by("pk").select_for_update()
    )
    return {
        (id, attempt, runner): job for id, attempt, runner, job in locked if (id, attempt, runner) in keys
    }


class _End(NamedTuple):
    """What became of an attempt, as the history has it."""

    outcome: str
    failure: str
    message: str
    log: str = ""


def _set_back(ends: Mapping[Job, _End]) -> None:
    """These jobs, which are locked, get another attempt after a pause that doubles; or end, after too many losses."""
    logs = _take_logs(ends)
    again: dict[Job, _End] = {}
    over: dict[Job, _End] = {}
    for job, end in ends.items():
        handed_back = end.outcome == HANDED_BACK
        # An order that vanished from the broker before anybody took it says nothing about the job.
        job.losses += not handed_back and job.state == JobState.RUNNING
        log = end.log or logs[job.pk]
        if job.cancel_requested:
            over[job] = _cancelled(logs[job.pk])
        elif job.losses >= MAX_LOSSES and not handed_back:
            why = f"It is not tried again: {job.losses} attempts were lost or failed for such reasons."
            over[job] = end._replace(message=f"{end.message}\n{why}", log=log)
        else:
            again[job] = end._replace(log=log)
    _archive(again)
    pauses = {job: 0 if end.outcome == HANDED_BACK else _pause(job) for job, end in again.items()}
    alike = sorted(again, key=lambda job: (pauses[job], job.losses))
    for (pause, losses), group in groupby(alike, key=lambda job: (pauses[job], job.losses)):
        Job.objects.filter(pk__in=[job.pk for job in group]).update(
            **_waiting_again(), losses=losses, not_before=Now() + timedelta(seconds=pause)
        )
    if over:
        _end(over)


def _pause(job: Job) -> int:
    """Seconds until the job's next attempt."""
    return int(min(60, 2 ** min(job.attempt, 6)))


def _end(ends: Mapping[Job, _End]) -> None:
    """These jobs, which are locked, are over."""
    said = [{"job": str(job.pk), "losses": job.losses} | end._asdict() for job, end in ends.items()]
    with connection.cursor() as cursor:
        cursor.execute(_END, [json.dumps(said)])


def _cancelled(log: str) -> _End:
    return _End(JobState.CANCELLED, "", _CANCELLED, log)


def _take_logs(jobs: Iterable[Job]) -> dict[UUID, str]:
    """What had arrived of the logs of attempts that have ended without one; their pieces go."""
    attempts = {job.pk: job.attempt for job in jobs}
    texts = dict.fromkeys(attempts, "")
    pieces = LogPiece.objects.filter(job__in=list(attempts))
    for id, attempt, text in pieces.order_by("job", "offset").values_list("job", "attempt", "text"):
        if attempt == attempts[id]:
            texts[id] += text
    pieces.delete()
    return texts


def _archive(ends: Mapping[Job, _End]) -> None:
    """Keeps what the attempts that have ended were, once: a job may end again before its next one."""
    attempts = [
        Attempt(
            job=job,
            number=job.attempt,
            # An order that nobody claimed had no runner: the job still names the one before.
            runner=job.runner if job.started_at else "",
            started_at=job.started_at,
            ended_at=job.finished_at or Now(),
            **end._asdict(),
        )
        for job, end in ends.items()
    ]
    Attempt.objects.bulk_create(attempts, ignore_conflicts=True)
