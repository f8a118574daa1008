"""Recording what runners say: claims and outcomes, heartbeats, stages and logs.

A batch is one transaction; whoever delivers it acknowledges after the commit. What changes nothing (late,
duplicate, stale) is dropped and counted. Nothing that a submission wrote is unpickled or run here.
"""

import dataclasses
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Now

from datarun import logs
from datarun.contract.failures import RETRIED, FailureKind
from datarun.contract.messages import (
    Claim,
    Event,
    HandedBack,
    Heartbeat,
    LogChunk,
    Outcome,
    Result,
    StageReached,
    Stop,
    Stopped,
)
from datarun.contract.states import JobKind, JobState
from runapp import states
from runapp.models import Dropped, Job, LogPiece, PreparedData, Runner

from . import cross_validation, ensembles, ingest, metrics, raw_data

logger = logging.getLogger(__name__)

#: What ends an attempt.
_End = Outcome | HandedBack | Stopped

_LONGEST_NAME = 255  # characters of a runner's name
_KINDS = (
    "SELECT id::text, kind FROM runapp_job WHERE id = ANY (%s::uuid[]) AND kind <> %s AND state = ANY (%s)"
)


class Told(NamedTuple):
    """What a runner must be told."""

    runner: str
    stop: Stop


@transaction.atomic
def record(results: Iterable[Result]) -> list[Told]:
    """Applies claims and outcomes; returns whom to tell that they work for nothing.

    Claims come first, and outcomes of folds that end for good last, all of them together. That is no other
    result than in their order of arrival: an outcome needs its claim, and what is stale stays stale.
    """
    results = list(results)
    told = _claim([result for result in results if isinstance(result, Claim)])
    others = [result for result in results if not isinstance(result, Claim)]
    kinds = _kinds(others)
    preparations = [result for result in others if kinds.get(result.job) == JobKind.PREPARE]
    combined = [result for result in others if kinds.get(result.job) == JobKind.ENSEMBLE]
    for result in preparations:
        _record_preparation(result)
    _drop_rest(folds := [result for result in others if result.job not in kinds], _end(folds))
    for result in sorted(combined, key=states.key):
        _record_ensemble(result)
    return told


def _end(results: Iterable[_End]) -> set[states.Key]:
    """Applies what ended attempts, each kind of it at once; returns the keys of those that counted."""
    final: list[Outcome] = []
    setbacks: list[Outcome] = []
    returned: list[HandedBack] = []
    confirmed: list[Stopped] = []
    for result in results:
        match result:
            case Outcome(failure=failure):
                (setbacks if failure in RETRIED else final).append(result)
            case HandedBack():
                returned.append(result)
            case Stopped():
                confirmed.append(result)
    counted: set[states.Key] = set()
    if setbacks:
        counted |= (again := states.retry(setbacks))
        metrics.count_outcomes(
            {states.key(each): each for each in setbacks if states.key(each) in again}.values()
        )
    if returned:
        counted |= (handed_back := states.hand_back(returned))
        metrics.count_attempts(states.HANDED_BACK, len(handed_back))
    if confirmed:
        counted |= (stopped := states.stop(confirmed))
        metrics.count_attempts(JobState.CANCELLED, len(stopped))
    return counted | (ingest.record(final) if final else set())


def _kinds(results: Collection[_End]) -> dict[str, str]:
    """The kinds of those jobs that are not of folds: more follows from them."""
    if not results:
        return {}
    with connection.cursor() as cursor:
        # What is not in flight now has nothing to report that counts.
        cursor.execute(_KINDS, [[result.job for result in results], JobKind.FOLD, list(states.IN_FLIGHT)])
        return dict(cursor.fetchall())


def _record_preparation(result: _End) -> None:
    """One at a time, with the lock of its data set."""
    version = raw_data.prepared_by(result.job)
    if version is not None and isinstance(result, Outcome) and result.failure is None:
        result = _checked(version, result)
    if _end_one(result) and version is not None:
        if isinstance(result, Outcome) and result.failure is None:
            raw_data.record(version, result)
        raw_data.settle(version)


def _record_ensemble(result: _End) -> None:
    """One at a time, with the locks of its submission and itself."""
    ensemble = ensembles.held_by(result.job)
    if _end_one(result) and ensemble is not None:
        good = result if isinstance(result, Outcome) and result.failure is None else None
        ensembles.settle(ensemble, good)


def _end_one(result: _End) -> bool:
    """Applies what ended an attempt at a job that is not a fold's, or drops it; returns whether it counted."""
    if isinstance(result, Outcome) and result.failure not in RETRIED:
        applied = states.finish(result)
        metrics.count_outcomes([result] if applied else [])
    else:
        applied = bool(_end([result]))
    if not applied:
        _drop_rest([result], set())
    return applied


def _claim(claims: list[Claim]) -> list[Told]:
    if not claims:
        return []
    held = states.claim(claims)
    _drop_rest(lost := [claim for claim in claims if claim not in held], set())
    return [_unwanted(claim.runner, claim.job, claim.attempt) for claim in lost]


def _unwanted(runner: str, job: str, attempt: int) -> Told:
    return Told(runner, Stop(job=job, attempt=attempt, why="This attempt is not wanted any more."))


def lose(why: Mapping[Job, str]) -> set[UUID]:
    """Nobody answers for these jobs in flight: they get another attempt, or end with all that follows from it.

    Returns the ids of those of which nothing was heard meanwhile.
    """
    folds = {job: text for job, text in why.items() if job.kind == JobKind.FOLD}
    return _lose(folds).union(*(_lose_other(job, why[job]) for job in why if job not in folds))


@transaction.atomic
def _lose(why: Mapping[Job, str]) -> set[UUID]:
    lost = states.lose({job.pk: (job.attempt, text) for job, text in why.items()})
    metrics.count_attempts(FailureKind.LOST, len(lost))
    return lost


@transaction.atomic
def _lose_other(job: Job, why: str) -> set[UUID]:
    """With the locks of what follows from it."""
    version, ensemble = raw_data.prepared_by(job.pk), ensembles.held_by(job.pk)
    lost = _lose({job: why})
    if lost and version is not None:
        raw_data.settle(version)
    if lost and ensemble is not None:
        ensembles.settle(ensemble, None)
    return lost


@transaction.atomic
def give_up(job: Job, why: str) -> bool:
    """A job has waited for too long: it ends with all that follows from it."""
    version = raw_data.prepared_by(job.pk)
    if not states.fail_waiting(states.overdue().filter(pk=job.pk), FailureKind.ENVIRONMENT, why):
        return False
    if version is not None:
        raw_data.settle(version)
    return True


def _drop_rest(results: Iterable[Result], accepted: set[states.Key]) -> None:
    """Drops those that were not accepted, and the repetitions of those that were."""
    left = set(accepted)
    rest: list[Result] = []
    for result in results:
        if (key := states.key(result)) in left:
            left.remove(key)
        else:
            rest.append(result)
    if not rest:
        return
    about = Job.objects.filter(pk__in={result.job for result in rest}).only("attempt", "state", "runner")
    jobs = {str(job.pk): job for job in about}
    dropped = []
    for result in rest:
        reason = f"stale {type(result).__name__.lower()}"
        detail = _why_stale(result, jobs.get(result.job))
        with logs.about(job=result.job, attempt=result.attempt, runner=result.runner):
            logger.info("dropped: %s, job %s, runner %s, %s", reason, result.job, result.runner, detail)
        dropped.append(Dropped(reason=reason, runner=result.runner, job=result.job, detail=detail))
    _drop(dropped)


def _why_stale(result: Result, job: Job | None) -> str:
    if job is None:
        return "There is no such job."
    if result.attempt != job.attempt:
        return f"Attempt {result.attempt}: the job is at attempt {job.attempt}."
    if job.state == JobState.RUNNING:
        return f"Attempt {result.attempt}: runner {job.runner} has it."
    return f"Attempt {result.attempt}: the job is {job.state}."


def drop(reason: str, detail: str) -> None:
    """Counts a message that changed nothing, and says why."""
    _drop([Dropped(reason=reason, detail=states.storable(detail))])


@transaction.atomic
def _drop(dropped: list[Dropped]) -> None:
    Dropped.objects.bulk_create(dropped)
    metrics.count_dropped(row.reason for row in dropped)


def _checked(version: PreparedData, outcome: Outcome) -> Outcome:
    """The outcome; a failure if what organisers wrote cuts no folds. Raises ValueError if a runner forgot something."""
    files = set() if version.raw_data.module else {"train_rows", "test_rows"}
    if not {"n_train", "n_test"} <= set(outcome.counts) or not files <= set(outcome.blobs):
        raise ValueError(f"the outcome of preparation {outcome.job} lacks rows or their numbers")
    if problem := cross_validation.problem_of(version, outcome):
        return dataclasses.replace(outcome, failure=FailureKind.DATA, message=problem)
    return outcome


@transaction.atomic
def note(events: Iterable[Event]) -> list[Told]:
    """Applies heartbeats, stages and log chunks; returns whom to tell that they work for nothing.

    An event that comes too late changes nothing and harms nothing.
    """
    pieces: list[LogChunk] = []
    stages: list[StageReached] = []
    told: list[Told] = []
    for event in events:
        match event:
            case StageReached():
                stages.append(event)
            case LogChunk():
                pieces.append(event)
            case Heartbeat():
                told += _note_heartbeat(event)
    if stages:
        states.reach(stages)
    if pieces:
        _note_log(pieces)
    return told


def _note_log(chunks: list[LogChunk]) -> None:
    running = Job.objects.filter(pk__in={chunk.job for chunk in chunks}, state=JobState.RUNNING)
    current = {
        (str(id), attempt, runner) for id, attempt, runner in running.values_list("id", "attempt", "runner")
    }
    LogPiece.objects.bulk_create(
        [
            LogPiece(
                job_id=chunk.job,
                attempt=chunk.attempt,
                offset=chunk.offset,
                text=states.storable(chunk.text),
            )
            for chunk in chunks
            if (chunk.job, chunk.attempt, chunk.runner) in current
        ],
        ignore_conflicts=True,
    )


def _note_heartbeat(heartbeat: Heartbeat) -> list[Told]:
    Runner.objects.update_or_create(
        name=heartbeat.runner,
        defaults={
            "queues": list(heartbeat.queues),
            "slots": heartbeat.slots,
            "versions": dict(heartbeat.versions),
            "running": list(heartbeat.running),
            "leaving": heartbeat.leaving,
            "unprotected": list(heartbeat.unprotected),
            "environments": {name: dict(versions) for name, versions in heartbeat.environments.items()},
            "incompatible": False,
            "last_seen": Now(),
        },
    )
    states.renew(heartbeat.running, heartbeat.runner)
    return [
        _unwanted(heartbeat.runner, job, heartbeat.running[job])
        for job in states.outdated(heartbeat.running, heartbeat.runner)
    ]


def note_incompatible(runner: str, version: str) -> str:
    """A runner speaks another contract version: it is known, and gets no work. Returns its name as it is stored.

    Nothing about its message is believed, so whatever it calls itself can be stored.
    """
    noted, _ = Runner.objects.update_or_create(
        name=states.storable(runner)[:_LONGEST_NAME],
        defaults={"incompatible": True, "versions": {"contract": version}, "running": [], "last_seen": Now()},
    )
    return noted.name
