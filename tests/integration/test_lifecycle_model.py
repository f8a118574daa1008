"""The life of jobs: whatever happens in whatever order, none is stuck, lost, counted twice or unexplained.

Hypothesis posts, dispatches, loses, repeats, kills and cancels as it likes, against the real services and
PostgreSQL; after each step the invariants must hold, and in the end, once runners live and messages arrive, every
job must come to an end.
"""

import logging
import random
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
import pytest
from django.db import transaction
from django.db.models import Sum
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from datarun.contract import npy, queues
from datarun.contract.failures import FailureKind
from datarun.contract.messages import (
    Claim,
    FoldOrder,
    HandedBack,
    LogChunk,
    Order,
    Outcome,
    Result,
    StageReached,
    Stopped,
)
from datarun.contract.states import TERMINAL_STATES, JobState, Stage
from runapp import states
from runapp.models import Attempt, Counter, Dropped, Job, Prediction, SubmissionFold
from runapp.scheduler import reap
from runapp.services import blobs, jobs, orders, raw_data, results, submissions, waiting
from runapp.services.fairness import Turns
from runapp.services.results import Told
from tests.integration.helpers import fold_body
from tests.integration.jobs import data_set, later, live, user

T = TypeVar("T")

RUNNERS = ("runner-1", "runner-2", "runner-3")
MOST_FOLDS = 3
ROUNDS = 25  # more than any job needs that meets no more trouble

ANY = st.integers(0, 63)  # one of those that there are, counted round
RUNNER = st.sampled_from(RUNNERS)
QUEUE = st.sampled_from(queues.ORDER_QUEUES)
ENDING = st.sampled_from((None, None, *FailureKind))

Step = Callable[..., None]


def pick(some: Sequence[T], number: int) -> T:
    return some[number % len(some)]


def needs(condition: Callable[["Life"], object]) -> Callable[[Step], Step]:
    """A step that makes sense under a condition only; otherwise work goes on.

    Hypothesis's own preconditions must be repeatable to the millisecond: time is the database's here.
    """

    def guard(step: Step) -> Step:
        @wraps(step)
        def guarded(self: "Life", *arguments: Any, **named: Any) -> None:
            if condition(self):
                step(self, *arguments, **named)
            else:
                self.go_on()

        return guarded

    return guard


class Scheduler:
    """What one scheduler has in hand between two of its steps."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.picked: list[UUID] = []
        self.built: list[tuple[Job, Order]] = []


class Life(RuleBasedStateMachine):
    """Two schedulers, three runners, a broker that loses, repeats and reorders, and people."""

    #: The ids of jobs: random, but the same in each example, because they decide what comes first.
    ids = random.Random()

    def __init__(self) -> None:
        super().__init__()
        self.ids.seed(0)
        self.schedulers = (Scheduler(), Scheduler())
        self.in_broker: list[Order] = []
        self.at_work: dict[str, list[Order]] = {runner: [] for runner in RUNNERS}
        self.said: list[Result] = []
        self.told: list[Told] = []
        self.delivered = 0
        # Who predicted this number.
        self.authors: dict[float, tuple[str, int, str]] = {}
        self.started: set[tuple[UUID, int]] = set()
        self.ended: dict[UUID, tuple[Any, ...]] = {}
        self.steps = self.posted = self.splits = 0
        self.rows: list[SubmissionFold] = []
        self.rolled_back = transaction.atomic()
        self.rolled_back.__enter__()

    @initialize(is_prepared=st.sampled_from((True, True, True, False)), number=st.integers(1, 2))
    def folds_are_posted(self, is_prepared: bool, number: int) -> None:
        self.data_set = data_set()
        self.prepared_rows = {"train_rows": blobs.put(b"train"), "test_rows": blobs.put(b"test")}
        for runner in RUNNERS:
            self.beat(runner, 2, False)
        if is_prepared:
            self._split(0.2)
            self.all_goes_well()
        for submission in range(number):
            self.post(submission + 1, queues.LIGHT)

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.all_comes_to_an_end()
        finally:
            transaction.set_rollback(True)
            self.rolled_back.__exit__(None, None, None)

    # --- people ----------------------------------------------------------------------------------

    @rule(submission=st.integers(1, 2), queue=st.sampled_from("LH"))
    @needs(lambda self: len(self.folds()) < MOST_FOLDS)
    def post(self, submission: int, queue: str) -> None:
        self.posted += 1
        body = fold_body(self.data_set.pk, self.posted, submission, priority=queue)
        submissions.post_fold(user(f"user {submission}"), submissions.PostedFold(**body, force=""))

    @rule(number=ANY)
    @needs(lambda self: self.folds() and self.steps % 4 == 0)
    def replace(self, number: int) -> None:
        fold = pick(self.folds(), number)
        body = fold_body(
            self.data_set.pk, fold.pk, fold.databoard_s_id, force="submission_fold", priority="L"
        )
        submissions.post_fold(user(), submissions.PostedFold(**body))

    @rule(share=st.sampled_from((0.2, 0.5)))
    @needs(lambda self: self.splits < 3 and self.steps % 4 == 0)
    def split(self, share: float) -> None:
        self._split(share)

    def _split(self, share: float) -> None:
        self.splits += 1
        version = raw_data.split(user(), self.data_set.pk, share, 42)
        self.ended.pop(version.job_id, None)  # a failed one is tried again

    @rule(number=ANY)
    @needs(lambda self: self.folds(*states.UNFINISHED) and self.steps % 2 == 0)
    def cancel(self, number: int) -> None:
        jobs.cancel(SubmissionFold.objects.filter(pk=pick(self.folds(*states.UNFINISHED), number).pk))

    @rule(number=ANY)
    @needs(lambda self: self.folds() and self.steps % 4 == 0)
    def delete(self, number: int) -> None:
        pick(self.folds(), number).delete()

    @rule(number=ANY)
    @needs(lambda self: self.folds(*TERMINAL_STATES))
    def rerun(self, number: int) -> None:
        fold = pick(self.folds(*TERMINAL_STATES), number)
        self.ended.pop(fold.job_id)
        assert jobs.rerun(SubmissionFold.objects.filter(pk=fold.pk)) == 1

    @rule()
    @needs(lambda self: self.folds(JobState.FAILED))
    def rerun_what_failed(self) -> None:
        for fold in self.folds(JobState.FAILED, JobState.CANCELLED):
            self.ended.pop(fold.job_id)
        jobs.rerun(SubmissionFold.objects.all(), failed_only=True)

    def folds(self, *in_states: str) -> list[SubmissionFold]:
        """The folds as the step before left them, by their states."""
        return [fold for fold in self.rows if not in_states or fold.job.state in in_states]

    # --- all of it -------------------------------------------------------------------------------

    @rule()
    def dispatch(self) -> None:
        for queue in queues.ORDER_QUEUES:
            self.choose_what_to_dispatch(0, queue, 3)
            if self.schedulers[0].picked:
                self.queue_it(0)
            if self.schedulers[0].built:
                self.publish_it(0, 3, False)

    @rule(runner=RUNNER)
    @needs(lambda self: self.folds(JobState.CREATED))
    def dispatch_and_claim(self, runner: str) -> None:
        self.dispatch()
        while self.in_broker:
            self.take(0, runner, True)
        self.collect_all()

    @rule(failure=ENDING)
    @needs(lambda self: any(self.at_work.values()))
    def end_what_runs(self, failure: FailureKind | None) -> None:
        while any(self.at_work.values()):
            self.end(0, failure)
        self.collect_all()

    @rule()
    @needs(lambda self: self.folds(JobState.RUNNING))
    def lose_what_runs(self) -> None:
        """All runners fall silent for long enough."""
        later(seconds=12)
        self.reap(True)
        later(seconds=6)

    @rule()
    def collect_all(self) -> None:
        said, self.said = self.said, []
        self._record(said)

    def go_on(self) -> None:
        """The next thing that normally happens."""
        if self.said:
            self.collect_all()
        elif any(self.at_work.values()):
            self.end(self.steps, None)
        elif self.in_broker:
            self.take(self.steps, pick(RUNNERS, self.steps), True)
        else:
            self.dispatch()

    def all_goes_well(self) -> None:
        """What is to be dispatched runs and ends, what is to be stopped stops, and all of it is heard."""
        self.dispatch()
        self.stop_what_is_cancelled()
        while self.told:
            self.obey(0)
        while self.in_broker:
            self.take(0, pick(RUNNERS, len(self.in_broker)), True)
        while any(self.at_work.values()):
            self.end(0, None)
        self.collect_all()

    # --- schedulers ------------------------------------------------------------------------------

    @rule(number=ANY, queue=QUEUE, room=st.integers(1, 3))
    def choose_what_to_dispatch(self, number: int, queue: str, room: int) -> None:
        scheduler = pick(self.schedulers, number)
        scheduler.picked = scheduler.turns.next(queue, room)

    @rule(number=ANY)
    @needs(lambda self: any(scheduler.picked for scheduler in self.schedulers))
    def queue_it(self, number: int) -> None:
        scheduler = pick(self.schedulers, number)
        queued = states.queue(scheduler.picked)
        scheduler.built += orders.build((id for id in scheduler.picked if id in queued), others=True)
        scheduler.picked = []

    @rule(number=ANY, confirmed=st.integers(0, 3), unconfirmed=st.booleans())
    @needs(lambda self: any(scheduler.built for scheduler in self.schedulers))
    def publish_it(self, number: int, confirmed: int, unconfirmed: bool) -> None:
        """The broker confirms so many orders; one more may have arrived all the same."""
        scheduler = pick(self.schedulers, number)
        arrived = confirmed + (unconfirmed and confirmed < len(scheduler.built))
        self.in_broker += [order for _, order in scheduler.built[:arrived]]
        states.give_back(job for job, _ in scheduler.built[confirmed:])
        scheduler.built = []

    @rule(number=ANY)
    @needs(lambda self: any(scheduler.built for scheduler in self.schedulers))
    def kill_the_scheduler(self, number: int) -> None:
        scheduler = pick(self.schedulers, number)
        scheduler.picked, scheduler.built, scheduler.turns = [], [], Turns()

    @rule(numbers=st.lists(ANY, min_size=1, max_size=5), acknowledged=st.booleans())
    @needs(lambda self: self.said)
    def collect(self, numbers: list[int], acknowledged: bool) -> None:
        """A batch, in any order, with repetitions; all of it comes again if it is not acknowledged."""
        batch = [pick(self.said, number) for number in numbers]
        self._record(batch)
        if acknowledged:
            self.said = [result for result in self.said if all(result is not seen for seen in batch)]

    @rule(hearing=st.booleans())
    def reap(self, hearing: bool) -> None:
        before = dict(Job.objects.filter(state__in=states.IN_FLIGHT).values_list("pk", "state"))
        reap.run_once(hearing)
        if not hearing:
            after = dict(Job.objects.filter(state__in=states.IN_FLIGHT).values_list("pk", "state"))
            assert after == before, "a deaf scheduler condemned a job in flight"

    # Multiples of 6 keep far enough from all limits that how long a step takes decides nothing.
    @rule(seconds=st.sampled_from((6, 12, 18, 42)))
    def time_passes(self, seconds: int) -> None:
        later(seconds=seconds)

    @rule()
    @needs(lambda self: self.steps % 16 == 0)
    def a_month_passes(self) -> None:
        later(days=31)

    def _record(self, batch: list[Result]) -> None:
        self.told += results.record(batch)
        self.delivered += len(batch)

    # --- the broker ------------------------------------------------------------------------------

    @rule(number=ANY)
    @needs(lambda self: self.in_broker)
    def lose_an_order(self, number: int) -> None:
        self.in_broker.remove(pick(self.in_broker, number))

    @rule(number=ANY)
    @needs(lambda self: self.said)
    def lose_a_result(self, number: int) -> None:
        self.said.remove(pick(self.said, number))

    # --- runners ---------------------------------------------------------------------------------

    @rule(number=ANY, runner=RUNNER, acknowledged=st.booleans())
    @needs(lambda self: self.in_broker)
    def take(self, number: int, runner: str, acknowledged: bool) -> None:
        """A runner takes an order, which is delivered again if its acknowledgement is lost."""
        order = pick(self.in_broker, number)
        self.said.append(Claim(order.job, order.attempt, runner))
        self.at_work[runner].append(order)
        if acknowledged:
            self.in_broker.remove(order)

    @rule(number=ANY, failure=ENDING)
    @needs(lambda self: any(self.at_work.values()))
    def end(self, number: int, failure: FailureKind | None) -> None:
        runner, order = self._some_work(number)
        self.at_work[runner].remove(order)
        self.said.append(
            self._outcome(order.job, order.attempt, runner, isinstance(order, FoldOrder), failure)
        )

    @rule(number=ANY)
    @needs(lambda self: any(self.at_work.values()))
    def hand_back(self, number: int) -> None:
        runner, order = self._some_work(number)
        self.at_work[runner].remove(order)
        self.said.append(HandedBack(order.job, order.attempt, runner))

    @rule(number=ANY)
    @needs(lambda self: self.told)
    def obey(self, number: int) -> None:
        """A runner hears that it is to stop something, and does."""
        told = pick(self.told, number)
        self.told.remove(told)
        for order in list(self.at_work[told.runner]):
            if (order.job, order.attempt) == (told.stop.job, told.stop.attempt):
                self.at_work[told.runner].remove(order)
                self.said.append(Stopped(order.job, order.attempt, told.runner))

    @rule()
    @needs(lambda self: any(self.at_work.values()))
    def stop_what_is_cancelled(self) -> None:
        """The schedulers tell runners what people have cancelled, and they do it."""
        cancelled = Job.objects.filter(state=JobState.RUNNING, cancel_requested=True)
        keys = {(str(id), attempt) for id, attempt in cancelled.values_list("pk", "attempt")}
        for runner, work in self.at_work.items():
            for order in [order for order in work if (order.job, order.attempt) in keys]:
                work.remove(order)
                self.said.append(Stopped(order.job, order.attempt, runner))

    @rule(runner=RUNNER, slots=st.integers(1, 2), leaving=st.booleans())
    def beat(self, runner: str, slots: int, leaving: bool) -> None:
        running = {order.job: order.attempt for order in self.at_work[runner]}
        told = live(runner, slots, running=running, leaving=leaving)
        self.told += sorted(told, key=lambda told: told.stop.job)

    @rule(number=ANY, stage=st.sampled_from([stage for stage in Stage if stage]))
    @needs(lambda self: any(self.at_work.values()))
    def say_how_far_it_is(self, number: int, stage: Stage) -> None:
        runner, order = self._some_work(number)
        about = (order.job, order.attempt, runner)
        results.note([StageReached(*about, stage), LogChunk(*about, 0, "training\0 starts \ud800")])

    @rule(runner=RUNNER)
    @needs(lambda self: any(self.at_work.values()))
    def kill_the_runner(self, runner: str) -> None:
        self.at_work[runner] = []

    @rule(
        number=ANY,
        back=st.sampled_from((0, 0, 0, 1, 1, -1)),
        runner=st.sampled_from((None, None, *RUNNERS)),
        kind=st.sampled_from((Claim, Outcome, Outcome, HandedBack, Stopped)),
        failure=ENDING,
    )
    @needs(lambda self: any(fold.job.attempt for fold in self.rows))
    def wake_from_a_pause(
        self, number: int, back: int, runner: str | None, kind: type[Result], failure: FailureKind | None
    ) -> None:
        """A runner says something about any attempt, as if it had slept through all that came after."""
        job = pick(Job.objects.filter(attempt__gt=0).order_by("created_at", "pk"), number)
        about = (str(job.pk), max(0, job.attempt - back), runner or job.runner or RUNNERS[0])
        is_fold = SubmissionFold.objects.filter(job=job).exists()
        self._record([self._outcome(*about, is_fold, failure) if kind is Outcome else kind(*about)])

    def _some_work(self, number: int) -> tuple[str, Order]:
        work = [(runner, order) for runner, orders in self.at_work.items() for order in orders]
        return pick(work, number)

    def _outcome(
        self, job: str, attempt: int, runner: str, is_fold: bool, failure: FailureKind | None
    ) -> Outcome:
        about = (job, attempt, runner)
        if failure is not None:
            return Outcome(*about, failure=failure, message="It\0 failed \ud800", log="log\0")
        if not is_fold:
            return Outcome(*about, counts={"n_train": 8, "n_test": 2}, blobs=self.prepared_rows)
        author = float(len(self.authors))
        self.authors[author] = about
        return Outcome(*about, arrays={"train": np.full(6, author), "test": np.full(2, author)})

    # --- what must hold --------------------------------------------------------------------------

    @invariant()
    def the_invariants_hold(self) -> None:
        self.steps += 1
        self.rows = list(SubmissionFold.objects.order_by("pk").select_related("job"))
        rows = list(Job.objects.order_by("created_at", "pk"))
        archived: dict[UUID, list[Attempt]] = {job.pk: [] for job in rows}
        for attempt in Attempt.objects.order_by("number"):
            archived[attempt.job_id].append(attempt)
        self.every_state_has_its_deadline(rows)
        self.an_end_is_the_end(rows)
        self.predictions_are_those_of_the_attempt_that_counts()
        self.losses_are_bounded(rows)
        self.history_is_whole(rows, archived)
        self.every_attempt_is_counted_once(rows, archived)
        assert Dropped.objects.count() <= self.delivered
        if rows:
            self.waiting_explains_itself(pick(rows, self.steps))

    def every_state_has_its_deadline(self, rows: list[Job]) -> None:
        for job in rows:
            is_over = job.state in TERMINAL_STATES
            assert (job.deadline is None) == is_over, job
            assert (job.finished_at is not None) == is_over, job
            assert (job.started_at is not None) or job.state != JobState.RUNNING, job

    def an_end_is_the_end(self, rows: list[Job]) -> None:
        """Only who runs a job again takes it out of its terminal state; nothing else touches what it was."""
        now = {job.pk: job for job in rows}
        for id, was in self.ended.items():
            assert _ending(now[id]) == was, now[id]
        self.ended = {job.pk: _ending(job) for job in rows if job.state in TERMINAL_STATES}

    def predictions_are_those_of_the_attempt_that_counts(self) -> None:
        succeeded = SubmissionFold.objects.filter(job__state=JobState.SUCCEEDED)
        about = {
            fold: (str(job), attempt, runner)
            for fold, job, attempt, runner in succeeded.values_list(
                "pk", "job", "job__attempt", "job__runner"
            )
        }
        predicted = {
            fold: [self.authors[npy.loads(bytes(content))[0]] for content in contents]
            for fold, *contents in Prediction.objects.values_list("fold", "train", "test")
        }
        assert predicted == {fold: [author, author] for fold, author in about.items()}

    def losses_are_bounded(self, rows: list[Job]) -> None:
        for job in rows:
            assert job.losses < states.MAX_LOSSES or job.state == JobState.FAILED, job
            assert job.losses <= states.MAX_LOSSES, job

    def history_is_whole(self, rows: list[Job], archived: dict[UUID, list[Attempt]]) -> None:
        """Each attempt that started stands in the history once, the current one last."""
        self.started |= {(job.pk, job.attempt) for job in rows if job.started_at is not None}
        for job in rows:
            numbers = [attempt.number for attempt in archived[job.pk]]
            assert max(numbers, default=0) <= job.attempt
            begun = {attempt for id, attempt in self.started if id == job.pk}
            current = {job.attempt} if job.state != JobState.CREATED else set()
            assert begun <= {*numbers} | current, job
        if rows:
            job = pick(rows, self.steps)
            shown = [attempt["number"] for attempt in jobs.attempts(job)]
            assert shown == sorted(set(shown)), shown
            assert {attempt for id, attempt in self.started if id == job.pk} <= set(shown)

    def every_attempt_is_counted_once(self, rows: list[Job], archived: dict[UUID, list[Attempt]]) -> None:
        """In the metrics: those that ran and ended, and orders that were lost."""
        ended = 0
        for job in rows:
            numbers = {attempt.number for attempt in archived[job.pk]}
            ended += sum(_counts(attempt) for attempt in archived[job.pk])
            ended += job.state in TERMINAL_STATES and job.attempt not in numbers and _counts(job)
        counted = Counter.objects.filter(name="datarun_attempts").aggregate(sum=Sum("value"))["sum"] or 0
        assert counted == ended

    def waiting_explains_itself(self, job: Job) -> None:
        reason = waiting.explain(job)
        assert (reason is not None) == (job.state in states.WAITING)
        if reason is not None:
            assert reason.why.endswith((".", "(job " + str(job.pk) + ")")), reason
            assert job.waits_for_data or (reason.position or 0) >= 1, reason

    # --- in the end ------------------------------------------------------------------------------

    def all_comes_to_an_end(self) -> None:
        """From wherever it has come, with runners that live and a broker that delivers, every job ends."""
        self._split(0.2)
        for _ in range(ROUNDS):
            self.all_goes_well()
            self.the_invariants_hold()
            if not Job.objects.filter(state__in=states.UNFINISHED).exists():
                return
            later(seconds=20)
            for runner in RUNNERS:
                self.beat(runner, 2, False)
            self.reap(True)
        stuck = Job.objects.filter(state__in=states.UNFINISHED)
        raise AssertionError(f"stuck: {[(job, str(waiting.explain(job))) for job in stuck]}")


def _ending(job: Job) -> tuple[Any, ...]:
    """What a job that has ended is, for good."""
    return (job.state, job.attempt, job.runner, job.failure, job.message, job.log, job.losses)


def _counts(ended: Attempt | Job) -> bool:
    return ended.started_at is not None or ended.failure == FailureKind.LOST


@pytest.mark.timeout(1200)  # a failure is made small before it is shown
@pytest.mark.django_db
def test_no_job_is_ever_stuck_lost_counted_twice_or_unexplained(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = Job._meta.get_field("id")
    monkeypatch.setattr(id, "_get_default", lambda: UUID(int=Life.ids.getrandbits(128)))
    caplog.set_level(logging.CRITICAL, logger="runapp")
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Life,
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
