"""Why a job waits: its position, what it waits for, and for about how long. The same words everywhere."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Count, F, Q, QuerySet
from django.db.models.functions import Now

from datarun.contract import queues
from datarun.contract.states import JobState
from runapp import states
from runapp.models import Job, PreparedData

from . import environments, fairness, lease, runners

_RECENT = 50  # jobs that durations are estimated from
_SHORTEST = 1e-3  # seconds that any job takes
#: Positions are counted up to here: the cost of one is that of so many index probes at most.
FAR = 1000


@dataclass(frozen=True)
class Waiting:
    """`position` counts the jobs of the queue from 1, as far as `FAR`; a job at `FAR` may be further back.

    `seconds` until it starts is an estimate from recent durations, or None.
    """

    why: str
    position: int | None = None
    seconds: float | None = None

    @property
    def text(self) -> str:
        """All of it in words."""
        parts = [self.why]
        if self.position is not None:
            parts.append(f"Position {self.position}{' or later' * (self.position >= FAR)} in its queue.")
        if self.seconds is not None:
            seconds = round(self.seconds)
            about = f"About {timedelta(seconds=seconds)}" if seconds else "Less than a second"
            parts.append(f"{about} until it starts.")
        return " ".join(parts)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class _Slots:
    """The slots of the live runners that serve a queue."""

    queue: str
    number: int
    # What runs on them: jobs by queue.
    running: Mapping[str, int]
    # How many of them serve another queue too.
    shared: Mapping[str, int]

    @property
    def free(self) -> int:
        return max(0, self.number - sum(self.running.values()))

    def __str__(self) -> str:
        """In words, when none is free."""
        others = sum(self.running.values()) - self.running.get(self.queue, 0)
        of_others = "a job of another queue" if others == 1 else "jobs of other queues"
        which = f" {others} of them" if others < self.number else ""
        with_ = f",{which} with {of_others}" if others else ""
        if self.number == 1:
            return f"The only slot that serves queue {self.queue} is busy{with_}."
        return f"All {self.number} slots that serve queue {self.queue} are busy{with_}."


def explain(job: Job) -> Waiting | None:
    """What the job waits for, or None when it does not wait."""
    if job.state not in states.WAITING:
        return None
    if job.waits_for_data:
        return _for_data(job)
    position = _position(job)
    if not lease.is_held():  # nor does anybody hear of runners then
        return Waiting("No scheduler is at work: none runs, or none reaches the broker.", position)
    slots = _slots(job.queue)
    if not slots.number:
        return Waiting(_unserved(job.queue), position)
    seconds = _seconds_for(position, slots)
    if job.state == JobState.QUEUED:
        return Waiting(_in_broker(position, slots), position, seconds)
    return (
        _paused(job, position, seconds)
        or _capped(job, position, seconds)
        or Waiting(_for_slot(position, slots), position, seconds)
    )


def summary() -> list[str]:
    """A sentence for each queue whose jobs wait: how many, and why the first of them does."""
    kinds: dict[str, QuerySet[Job]] = {}
    for name in environments.order_queues():
        queued = Job.objects.filter(queue=name, state=JobState.QUEUED)
        kinds[f"in queue {name}"] = queued.order_by("queued_at", "created_at", "pk")
        kinds[f"for queue {name}"] = fairness.ready(name).order_by("created_at", "pk")
    unready = Job.objects.filter(state=JobState.CREATED, waits_for_data=True)
    kinds["for data"] = unready.order_by("deadline")
    sentences = []
    for where, jobs in kinds.items():
        if (first := jobs.first()) is not None and (reason := explain(first)) is not None:
            number = jobs[:FAR].count()
            how_many = f"{number}{' or more' * (number >= FAR)}"
            sentences.append(f"Waiting {where}: {how_many}. The first: {reason}")
    return sentences


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
    return None if mean is None else max(0.0, float(mean))  # the clock may have been set back


# --- reasons -------------------------------------------------------------------------------------------


def for_data(version: PreparedData | None) -> Waiting:
    """Why what needs this version of a data set waits."""
    if version is None:
        return Waiting("Its data set has not been split yet: ask for rawdata/split/ or rawdata/customsplit/.")
    preparation = version.job
    prepared_in = mean_seconds(preparation.queue)
    if preparation.state == JobState.RUNNING:
        why = f"Its data set is being prepared (job {preparation.pk})."
    elif (reason := explain(preparation)) is not None:
        why = f"Its data set waits to be prepared (job {preparation.pk}): {reason.why}"
        prepared_in = _sum(reason.seconds, prepared_in)
    else:
        why = f"The preparation of its data set has just ended (job {preparation.pk})."
        prepared_in = 0.0
    return Waiting(why, seconds=prepared_in)


def _unserved(queue: str) -> str:
    name, environment = queues.parts(queue)
    if environment:
        return f"No live runner that serves {name} has environment {environment!r}."
    return f"No live runner serves queue {name}."


def _for_data(job: Job) -> Waiting:
    fold = getattr(job, "submissionfold", None)
    reason = for_data(None if fold is None else fold.prepared)
    if fold is None or fold.prepared is None:
        return reason
    return replace(reason, seconds=_sum(reason.seconds, _seconds_for(_position(job), _slots(job.queue))))


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _in_broker(position: int, slots: _Slots) -> str:
    if position <= slots.free:
        return f"Its order is in queue {slots.queue}: a free slot is about to take it."
    if slots.free:
        return f"Its order is in queue {slots.queue}: those before it are about to take the free slots."
    return f"Its order is in queue {slots.queue}, for the next slot that gets free. {slots}"


def _for_slot(position: int, slots: _Slots) -> str:
    if position <= slots.free:
        return f"A slot that serves queue {slots.queue} is free: it is about to be dispatched."
    if slots.free:
        return f"The jobs before it are about to take the free slots that serve queue {slots.queue}."
    return str(slots)


def _paused(job: Job, position: int, seconds: float | None) -> Waiting | None:
    """It waits for the end of the pause between two attempts."""
    left: timedelta = Job.objects.values_list(F("not_before") - Now(), flat=True).get(pk=job.pk)
    if left <= timedelta(0):
        return None
    failures = job.earlier.filter(number=job.attempt).values_list("failure", flat=True)
    after = f"attempt {job.attempt} ({', '.join(failures)})"
    why = f"It is tried again in {timedelta(seconds=round(left.total_seconds()))}, after {after}."
    return Waiting(why, position, None if seconds is None else max(seconds, left.total_seconds()))


def _capped(job: Job, position: int, seconds: float | None) -> Waiting | None:
    """It waits for others of its share."""
    cap = settings.MAX_RUNNING_PER_SHARE
    if not cap or (number := fairness.in_flight().get(job.share, 0)) < cap:
        return None
    whose = "submission" if job.share.startswith("submission") else "owner"
    why = f"Its {whose} has {number} jobs with runners, and may have {cap}."
    if seconds is not None:
        before = fairness.ready(job.queue).filter(share=job.share, created_at__lt=job.created_at)
        seconds = max(seconds, (before[:FAR].count() + 1) * (mean_seconds(job.queue) or 0.0) / cap)
    return Waiting(why, position, seconds)


# --- numbers -------------------------------------------------------------------------------------------


def _slots(queue: str) -> _Slots:
    serving = runners.serving(queue)
    running = runners.running(runner.name for runner in serving).values_list("queue")
    shared: Counter[str] = Counter()
    for runner in serving:
        shared.update({other: runner.slots for other in runner.queues if other != queue})
    number = sum(runner.slots for runner in serving)
    return _Slots(queue, number, dict(running.annotate(Count("id"))), shared)


def _position(job: Job) -> int:
    """Its place in its queue, from 1: after the orders in the broker, and the jobs whose turn comes first."""
    queued = Job.objects.filter(queue=job.queue, state=JobState.QUEUED)
    if job.state == JobState.QUEUED:
        # Of those that were dispatched together, the oldest first.
        together = Q(queued_at=job.queued_at, created_at__lt=job.created_at)
        together |= Q(queued_at=job.queued_at, created_at=job.created_at, pk__lt=job.pk)
        return queued.filter(together | Q(queued_at__lt=job.queued_at)).count() + 1
    return min(FAR, fairness.before(job, FAR) + queued.count() + 1)


def _seconds_for(position: int, slots: _Slots) -> float | None:
    """How long until the slots come to the job at this position.

    As many jobs as it lacks slots must end first: one of those that run now, then those before it. Other queues
    that have work take as many turns on the slots that they share.
    """
    if not slots.number or (mean := mean_seconds(slots.queue)) is None:
        return None
    missing = position - slots.free
    if missing <= 0:
        return 0.0
    means = {queue: max(_SHORTEST, mean_seconds(queue) or mean) for queue in {*slots.shared, *slots.running}}
    rates = [number / means[queue] for queue, number in slots.running.items()]
    work = sum(slots.running.values()) / sum(rates) if rates else mean
    work += (missing - 1) * mean
    for queue, number in slots.shared.items():
        work += min(_number_waiting(queue), missing * number / slots.number) * means[queue]
    return work / slots.number


def _number_waiting(queue: str) -> int:
    queued = Job.objects.filter(queue=queue, state=JobState.QUEUED)
    return fairness.ready(queue)[:FAR].count() + queued.count()
