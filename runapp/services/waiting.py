"""Why a job waits: its position, what it waits for, and for about how long. The same words everywhere."""

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Count
from django.db.models.functions import Now

from datarun.contract.states import JobState
from runapp import states
from runapp.models import Job

from . import fairness, runners

_RECENT = 50  # jobs that durations are estimated from
#: Positions are counted up to here: the cost of one is that of so many index probes at most.
FAR = 1000


@dataclass(frozen=True)
class Waiting:
    """`position` counts the jobs of the queue from 1, as far as `FAR`; a job at `FAR` may be further back.

    `seconds` is an estimate from recent durations, or None.
    """

    why: str
    position: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        parts = [self.why]
        if self.position is not None:
            parts.append(f"Position {self.position}{' or later' * (self.position >= FAR)} in its queue.")
        if self.seconds is not None:
            parts.append(f"About {timedelta(seconds=round(self.seconds))} until it starts.")
        return " ".join(parts)


def explain(job: Job) -> Waiting | None:
    """What the job waits for, or None when it does not wait."""
    if job.state not in states.WAITING:
        return None
    if job.waits_for_data:
        return Waiting(_data_reason(job))
    slots = slots_of(job.queue)
    position = _position(job)
    if not slots:
        return Waiting(f"No live runner serves queue {job.queue}.", position)
    estimate = None
    if (mean := mean_seconds(job.queue)) is not None:
        estimate = mean * position / slots
    if job.state == JobState.QUEUED:
        return Waiting(f"Its order is in queue {job.queue}: the next free slot takes it.", position, estimate)
    if Job.objects.filter(pk=job.pk, not_before__gt=Now()).exists():
        return Waiting(f"It is tried again soon, after attempt {job.attempt}.", position, estimate)
    if settings.MAX_RUNNING_PER_SHARE and _in_flight(job) >= settings.MAX_RUNNING_PER_SHARE:
        cap = settings.MAX_RUNNING_PER_SHARE
        return Waiting(f"Its owner has {cap} jobs running, which is the cap.", position, estimate)
    return Waiting(f"All {slots} slots that serve queue {job.queue} are busy.", position, estimate)


def summary() -> list[str]:
    """A sentence for each queue whose jobs wait: how many, and what the first of them waits for."""
    ready = Job.objects.filter(state=JobState.CREATED, waits_for_data=False)
    sentences = []
    for queue, number in ready.values_list("queue").annotate(Count("id")):
        first = ready.filter(queue=queue).order_by("share", "created_at").first()
        if first is not None and (reason := explain(first)) is not None:
            sentences.append(f"{number} jobs wait in queue {queue}: {reason.why}")
    return sentences


def slots_of(queue: str) -> int:
    """How many slots of live runners serve the queue."""
    return sum(runner.slots for runner in runners.live() if queue in runner.queues)


def mean_seconds(queue: str) -> float | None:
    """How long the queue's latest jobs ran, on average; None while there are none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT avg(extract(epoch FROM finished_at - started_at)) FROM (SELECT started_at, finished_at "
            "FROM runapp_job WHERE queue = %s AND state = %s AND finished_at IS NOT NULL "
            "ORDER BY finished_at DESC LIMIT %s) AS recent",
            [queue, JobState.SUCCEEDED, _RECENT],
        )
        (mean,) = cursor.fetchone()
    return None if mean is None else float(mean)


def _data_reason(job: Job) -> str:
    fold = getattr(job, "submissionfold", None)
    if fold is None or fold.prepared is None:
        return "Its data set has not been split yet: ask for rawdata/split/ or rawdata/customsplit/."
    preparation = fold.prepared.job
    if preparation.state == JobState.RUNNING:
        return f"Its data set is being prepared (job {preparation.pk})."
    reason = explain(preparation)
    return f"Its data set waits to be prepared (job {preparation.pk}): {reason.why if reason else preparation.state}"


def _position(job: Job) -> int:
    """Its place in its queue, from 1: after the orders in the broker, and the jobs whose turn comes first."""
    queued = Job.objects.filter(queue=job.queue, state=JobState.QUEUED)
    if job.state == JobState.QUEUED:
        return queued.filter(queued_at__lt=job.queued_at).count() + 1
    return min(FAR, fairness.before(job, FAR) + queued.count() + 1)


def _in_flight(job: Job) -> int:
    return Job.objects.filter(queue=job.queue, share=job.share, state__in=states.IN_FLIGHT).count()
