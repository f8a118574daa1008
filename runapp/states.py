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

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from datarun.contract.failures import RETRIED, FailureKind
from datarun.contract.messages import Claim, Outcome, StageReached
from datarun.contract.states import TERMINAL_STATES, JobState, Stage

from .models import WAIT_LIMIT, Attempt, Job, LogPiece

#: How long a queued order may go unclaimed before somebody looks whether it is lost.
QUEUED_FOR = timedelta(seconds=15)
#: A running job whose runner has been silent for this long is taken for lost.
LEASE = timedelta(seconds=12)
#: How many attempts may be lost through no fault of the job before it ends with that failure.
MAX_LOSSES = 3

WAITING = (JobState.CREATED, JobState.QUEUED)
IN_FLIGHT = (JobState.QUEUED, JobState.RUNNING)
UNFINISHED = (JobState.CREATED, JobState.QUEUED, JobState.RUNNING)
#: The outcome of an attempt whose runner left; it is no state of a job.
HANDED_BACK = "handed back"


_CLAIM = f"""
    UPDATE runapp_job AS job
    SET state = '{JobState.RUNNING}', stage = '{Stage.STARTED}', runner = said.runner,
        started_at = statement_timestamp(), deadline = statement_timestamp() + make_interval(secs => %s)
    FROM unnest(%s::uuid[], %s::integer[], %s::text[]) AS said (job, attempt, runner)
    WHERE job.id = said.job AND job.attempt = said.attempt
          AND job.state = '{JobState.QUEUED}' AND NOT job.cancel_requested
"""
_REACH = f"""
    UPDATE runapp_job AS job SET stage = said.stage
    FROM unnest(%s::uuid[], %s::integer[], %s::text[], %s::text[]) AS said (job, attempt, runner, stage)
    WHERE job.id = said.job AND job.attempt = said.attempt AND job.runner = said.runner
          AND job.state = '{JobState.RUNNING}'
"""


@transaction.atomic
def queue(ids: Iterable[UUID]) -> set[UUID]:
    """created → queued, as a new attempt; returns the ids of those that were still created."""
    jobs = Job.objects.filter(id__in=list(ids), state=JobState.CREATED, waits_for_data=False)
    ours = set(jobs.select_for_update(skip_locked=True).values_list("id", flat=True))
    Job.objects.filter(id__in=ours).update(
        state=JobState.QUEUED, attempt=F("attempt") + 1, queued_at=Now(), deadline=Now() + QUEUED_FOR
    )
    return ours


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
    """The runner lives and works on these jobs: their leases go on."""
    Job.objects.filter(id__in=list(ids), state=JobState.RUNNING, runner=runner).update(deadline=Now() + LEASE)


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
    """running → succeeded or failed, or → created for a failure of ours that gets another attempt."""
    current = _running(outcome.job, outcome.attempt, outcome.runner)
    texts = {"message": storable(outcome.message), "log": storable(outcome.log)}
    if outcome.failure in RETRIED:
        return _retry(current, FailureKind(outcome.failure), **texts)
    state = JobState.SUCCEEDED if outcome.failure is None else JobState.FAILED
    if not current.update(**_ended(state), stage=outcome.stage, failure=outcome.failure or "", **texts):
        return False
    LogPiece.objects.filter(job_id=outcome.job).delete()
    return True


def lose(id: UUID, attempt: int, why: str) -> bool:
    """queued or running → created for another attempt, or → failed after too many: nobody answers for it.

    Only once its deadline is over: what was heard of it meanwhile counts.
    """
    current = overdue().filter(id=id, attempt=attempt, state__in=IN_FLIGHT)
    return _retry(current, FailureKind.LOST, message=why, log="")


@transaction.atomic
def hand_back(id: str, attempt: int, runner: str) -> bool:
    """running → created: its runner leaves. The attempt counts as no loss."""
    current = _running(id, attempt, runner)
    job = current.select_for_update().first()
    if job is None:
        return False
    if job.cancel_requested:
        return _cancelled(job)
    _archive(
        job, HANDED_BACK, FailureKind.LOST, f"Handed back by {runner}, which was stopped.", _take_log(job)
    )
    return bool(current.update(**_waiting_again()))


@transaction.atomic
def stopped(id: str, attempt: int, runner: str) -> bool:
    """running → cancelled: its runner confirms that no process of it is left."""
    job = _running(id, attempt, runner).select_for_update().first()
    return job is not None and _cancelled(job)


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
def rerun(jobs: QuerySet[Job], waits_for_data: bool = False) -> set[UUID]:
    """failed, cancelled or succeeded → created, at a person's wish; what was before is kept. Returns which."""
    ended = _in(jobs).filter(state__in=TERMINAL_STATES).order_by("pk").select_for_update()
    ids = set()
    for job in ended:
        ids.add(job.pk)
        if job.attempt:
            _archive(job, job.state, job.failure, job.message, job.log)
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
    )
    return ids


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


def _running(id: str, attempt: int, runner: str) -> QuerySet[Job]:
    return Job.objects.filter(id=id, attempt=attempt, state=JobState.RUNNING, runner=runner)


def _ended(state: JobState) -> dict[str, Any]:
    ended = {"state": state, "finished_at": Now(), "deadline": None}
    return ended | {"message": "It was cancelled."} if state == JobState.CANCELLED else ended


def _waiting_again() -> dict[str, Any]:
    return {
        "state": JobState.CREATED,
        "stage": Stage.STARTED,
        "deadline": Now() + WAIT_LIMIT,
        "queued_at": None,
        "started_at": None,
    }


@transaction.atomic
def _retry(jobs: QuerySet[Job], kind: FailureKind, message: str, log: str) -> bool:
    """Another attempt, after a pause that doubles; or the end, after too many losses."""
    job = jobs.select_for_update().first()
    if job is None:
        return False
    this = Job.objects.filter(pk=job.pk)
    if job.cancel_requested:
        return _cancelled(job)
    arrived = _take_log(job)
    log = log or arrived
    # An order that vanished from the broker before anybody took it says nothing about the job.
    losses = job.losses + (job.state == JobState.RUNNING)
    if losses >= MAX_LOSSES:
        message = f"{message}\nIt is not tried again: {losses} attempts were lost or failed for such reasons."
        return bool(
            this.update(**_ended(JobState.FAILED), failure=kind, message=message, log=log, losses=losses)
        )
    _archive(job, JobState.FAILED, kind, message, log)
    pause = timedelta(seconds=min(60, 2 ** min(job.attempt, 6)))
    return bool(this.update(**_waiting_again(), losses=losses, not_before=Now() + pause))


def _cancelled(job: Job) -> bool:
    """running → cancelled, for a job that is locked; what had arrived of its log is kept."""
    return bool(Job.objects.filter(pk=job.pk).update(**_ended(JobState.CANCELLED), log=_take_log(job)))


def _take_log(job: Job) -> str:
    """What had arrived of the log of an attempt that has ended without one; its pieces go."""
    log = printed(job)
    LogPiece.objects.filter(job=job).delete()
    return log


def _archive(job: Job, outcome: str, failure: str, message: str, log: str) -> None:
    """Keeps what the attempt that has ended was, once: a job may end again before its next one."""
    attempt = Attempt(
        job=job,
        number=job.attempt,
        # An order that nobody claimed had no runner: the job still names the one before.
        runner=job.runner if job.started_at else "",
        started_at=job.started_at,
        ended_at=job.finished_at or Now(),
        outcome=outcome,
        failure=failure,
        message=message,
        log=log,
    )
    Attempt.objects.bulk_create([attempt], ignore_conflicts=True)
