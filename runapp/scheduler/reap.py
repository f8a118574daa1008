"""Reap: every state has a deadline, enforced here. Never touches the broker."""

import logging
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.functions import Now

from datarun import logs
from datarun.contract.states import JobState
from runapp import states
from runapp.models import Job
from runapp.services import results, runners, waiting, wakeup
from runapp.services.runners import SILENCE

logger = logging.getLogger(__name__)

_LATEST = 20  # jobs of a queue
_BATCH = 1000
#: A slot that has been free for this long has seen every order in its queue.
_SETTLED = timedelta(seconds=3)
#: The same for an order that the runner which lost it leaves to others for some seconds.
_SETTLED_AGAIN = timedelta(seconds=15)


def run_once(hearing: bool) -> int:
    """Gives overdue jobs another attempt or ends them; returns how many.

    While the scheduler can't hear (`hearing` is False) jobs in flight are left alone: their runners may live.
    """
    too_long = Q(started_at__lt=Now() - states.longest())
    jobs = states.overdue().annotate(runs_too_long=ExpressionWrapper(too_long, BooleanField()))
    if not hearing:
        jobs = jobs.filter(state=JobState.CREATED)
    ended, kept = 0, []
    lost: dict[Job, str] = {}
    orders = _Orders()
    for job in jobs.select_related("submissionfold").order_by("deadline")[:_BATCH]:
        if job.state == JobState.CREATED:
            ended += _give_up(job)
        elif job.state == JobState.RUNNING:
            lost[job] = _why_lost(job)
        elif orders.is_lost(job):
            lost[job] = f"Its order vanished from queue {job.queue}."
        else:
            kept.append(job.pk)
    if lost:
        ended += _lose(lost)
    if kept:
        states.still_queued(kept)
    if ended:
        wakeup.scheduler()  # who dispatches may be another scheduler
    return ended


def _why_lost(job: Job) -> str:
    if job.runs_too_long:  # type: ignore[attr-defined]
        return f"Runner {job.runner} does not end it: it has run for {states.longest()}, whatever its time limit."
    return f"Runner {job.runner} has not been heard of for {SILENCE.seconds} s."


def _about(job: Job) -> dict[str, Any]:
    fold = getattr(job, "submissionfold", None)
    about = {} if fold is None else {"fold": fold.pk, "submission": fold.databoard_s_id}
    # The runner of a job that waits is that of an earlier attempt.
    runner = job.runner if job.state == JobState.RUNNING else ""
    return about | {"job": str(job.pk), "attempt": job.attempt, "runner": runner}


def _give_up(job: Job) -> bool:
    why = f"It has waited for too long. {waiting.explain(job) or ''}"
    with logs.about(**_about(job)):
        logger.warning("job %s: %s", job.pk, why)
    return results.give_up(job, why)


def _lose(why: dict[Job, str]) -> int:
    lost = results.lose(why)
    for job, text in why.items():
        if job.pk in lost:
            with logs.about(**_about(job)):
                logger.warning("job %s, attempt %d: %s", job.pk, job.attempt, text)
    return len(lost)


class _Orders:
    """What has become of the orders in the broker's queues: looked at once for each queue and round."""

    def __init__(self) -> None:
        self._taken = cache(_taken)
        self._is_idle = cache(_is_idle)

    def is_lost(self, job: Job) -> bool:
        """Whether a queued order must be gone: later ones were taken, or slots have been free for a while."""
        assert job.queued_at is not None
        settled = _SETTLED_AGAIN if job.losses else _SETTLED
        overtaken = any(
            queued_at > job.queued_at and started_at > job.queued_at + settled
            for queued_at, started_at in self._taken(job.queue, settled)
        )
        return overtaken or self._is_idle(job.queue, settled)


def _taken(queue: str, settled: timedelta) -> list[tuple[datetime, datetime]]:
    """When jobs of the queue were queued and started, not those that were just now.

    Those that run, and the latest to have ended: short jobs come and go.
    """
    started = Job.objects.filter(queue=queue, started_at__lt=Now() - settled)
    running = started.filter(state=JobState.RUNNING).values_list("queued_at", "started_at")
    ended = (
        started.filter(finished_at__isnull=False)
        .order_by("-finished_at")
        .values_list("queued_at", "started_at")
    )
    return [(queued, begun) for queued, begun in [*running, *ended[:_LATEST]] if queued and begun]


def _is_idle(queue: str, settled: timedelta) -> bool:
    """Whether a slot that serves the queue has been free for so long. It may serve other queues too."""
    serving = runners.serving(queue)
    theirs = Job.objects.filter(runner__in=[runner.name for runner in serving])
    served = {name for runner in serving for name in runner.queues}
    just_ended = theirs.filter(queue__in=served, finished_at__gt=Now() - settled)
    busy = theirs.filter(state=JobState.RUNNING).count() + just_ended.count()
    return busy < sum(runner.slots for runner in serving)
