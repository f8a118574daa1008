"""Outcomes are recorded in batches: exactly those that count change anything, whatever else is among them."""

import uuid
from collections.abc import Iterator

import numpy as np
import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from kombu import Connection

from datarun.broker import connection as broker
from datarun.contract import npy, predictions, queues, wire
from datarun.contract.messages import MEASURES, Claim, HandedBack, Outcome
from datarun.contract.states import JobState
from runapp import states
from runapp.models import Dropped, Job, LogPiece, Prediction, PreparedData, SubmissionFold
from runapp.scheduler.collect import Collector, Hearing
from runapp.services import blobs, jobs, results
from tests.integration.jobs import (
    RUNNER,
    fold,
    folds,
    job_of,
    log_chunk,
    outcome,
    prepared,
    queued,
    running,
    state_of,
)
from tests.integration.jobs import claim as claim_of

pytestmark = pytest.mark.django_db

Row = tuple[object, ...]


@pytest.fixture
def version() -> PreparedData:
    return prepared()


def run(*some: SubmissionFold) -> None:
    """A runner has taken the orders of these folds."""
    queued(*some)
    assert results.record([claim_of(one) for one in some]) == []


def predicting(one: SubmissionFold, number: float, **said: object) -> Outcome:
    """A good end, with predictions that name `number`."""
    return outcome(one, arrays={"train": np.full(3, number), "test": np.full((2, 2), number + 0.5)}, **said)


def predicted(one: SubmissionFold) -> tuple[np.ndarray, np.ndarray]:
    row = Prediction.objects.get(fold=one)
    assert row.train is not None
    assert row.test is not None
    return npy.loads(bytes(row.train)), npy.loads(bytes(row.test))


def rows() -> dict[uuid.UUID, Row]:
    """Every job as it is."""
    names = [field.attname for field in Job._meta.concrete_fields]
    return {row[0]: row for row in Job.objects.values_list(*names)}


def test_of_a_mixed_batch_exactly_what_counts_is_recorded(version: PreparedData) -> None:
    good, failed, repeated, elsewhere, overtaken, over, waiting, untouched = folds(version, 8)
    run(good, failed, repeated, overtaken, over, untouched)
    running(elsewhere, "runner-2")
    late = predicting(overtaken, 9.0)
    assert states.hand_back([HandedBack(late.job, late.attempt, late.runner)])
    run(overtaken)
    results.record([first_end := predicting(over, 1.0)])
    before = rows()

    unknown = Outcome(str(uuid.uuid4()), 1, RUNNER)
    results.record(
        [
            late,
            predicting(good, 2.0),
            unknown,
            predicting(elsewhere, 9.0),
            outcome(failed, failure="user_error", message="ValueError: no", log="said\n"),
            first_end,
            predicting(repeated, 3.0),
            predicting(repeated, 9.0),
            outcome(waiting),
        ]
    )

    after = rows()
    changed = {id for id, row in after.items() if row != before[id]}
    assert changed == {good.job_id, failed.job_id, repeated.job_id}
    assert [state_of(one) for one in (good, failed, repeated)] == ["succeeded", "failed", "succeeded"]
    assert set(Prediction.objects.values_list("fold", flat=True)) == {good.pk, repeated.pk, over.pk}
    for one, number in ((good, 2.0), (repeated, 3.0), (over, 1.0)):
        train, test = predicted(one)
        np.testing.assert_array_equal(train, np.full(3, number))
        np.testing.assert_array_equal(test, np.full((2, 2), number + 0.5))
    job = job_of(failed)
    assert (job.failure, job.message, job.log, job.deadline) == (
        "user_error",
        "ValueError: no",
        "said\n",
        None,
    )
    dropped = {row.job: (row.reason, row.runner, row.detail) for row in Dropped.objects.all()}
    stale = "stale outcome"
    assert dropped == {
        late.job: (stale, RUNNER, "Attempt 1: the job is at attempt 2."),
        unknown.job: (stale, RUNNER, "There is no such job."),
        str(elsewhere.job_id): (stale, RUNNER, "Attempt 1: runner runner-2 has it."),
        first_end.job: (stale, RUNNER, "Attempt 1: the job is succeeded."),
        str(repeated.job_id): (stale, RUNNER, "Attempt 1: the job is succeeded."),
        str(waiting.job_id): (stale, RUNNER, "Attempt 0: the job is created."),
    }


def test_everything_that_an_outcome_says_is_kept(version: PreparedData) -> None:
    one = fold(version)
    run(one)
    results.note([log_chunk(one, 0, "part")])
    measures = {name: float(number) for number, name in enumerate(MEASURES, start=1)}
    text = 'a "quoted" line\n\\ and ünïcode 🎉\t{1,2}\n'
    results.record([outcome(one, stage="validated", log=text, measures=measures)])
    job = job_of(one)
    assert (job.state, job.stage, job.log, job.failure, job.message) == (
        "succeeded",
        "validated",
        text,
        "",
        "",
    )
    assert {name: getattr(job, name) for name in MEASURES} == measures
    assert not LogPiece.objects.exists()


def test_what_cant_be_stored_is_replaced(version: PreparedData) -> None:
    one = fold(version)
    run(one)
    odd = {"train_time": float("inf"), "test_time": float("nan"), "train_memory": 3.0}
    results.record([outcome(one, log="a\0b\ud800", measures=odd)])
    job = job_of(one)
    assert job.log == "a\N{REPLACEMENT CHARACTER}b?"
    assert (job.train_time, job.test_time, job.train_memory) == (0.0, 0.0, 3.0)


def test_each_of_many_folds_has_its_own_predictions(version: PreparedData) -> None:
    many = folds(version, 300)
    run(*many)
    said = [predicting(one, float(one.pk)) for one in many]
    results.record(sorted(said, key=lambda each: each.job))
    assert Prediction.objects.count() == len(many)
    for one in many:
        train, test = predicted(one)
        assert (train[0], test.shape, test[1, 1]) == (one.pk, (2, 2), one.pk + 0.5)


def test_arrays_of_every_size_arrive_whole(version: PreparedData) -> None:
    """Also those that don't fit a page, or the piece that is sent at a time."""
    sizes = [1, 100, 1000, 10_000, 100_000]
    some = folds(version, len(sizes))
    run(*some)
    arrays = [np.random.default_rng(size).random(size) for size in sizes]
    results.record(
        [outcome(one, arrays={"train": a, "test": a[::-1]}) for one, a in zip(some, arrays, strict=True)]
    )
    for one, array in zip(some, arrays, strict=True):
        train, test = predicted(one)
        np.testing.assert_array_equal(train, array)
        np.testing.assert_array_equal(test, array[::-1])


def test_a_part_that_is_missing_is_null(version: PreparedData) -> None:
    one = fold(version)
    run(one)
    results.record([outcome(one, arrays={"test": np.arange(2.0)})])
    row = Prediction.objects.get()
    assert row.train is None
    assert row.test is not None


def test_predictions_that_came_as_blobs_are_stored_like_others(version: PreparedData) -> None:
    one, other = folds(version, 2)
    run(one, other)
    names = {part: blobs.put(npy.dumps(np.full(4, 7.0))) for part in ("train", "test")}
    results.record([outcome(one, array_blobs=names), predicting(other, 1.0)])
    assert [array.tolist() for array in predicted(one)] == [[7.0] * 4] * 2
    assert predicted(other)[0][0] == 1.0


def test_a_failed_attempt_leaves_no_predictions(version: PreparedData) -> None:
    one = fold(version)
    run(one)
    results.record([outcome(one, failure="user_error", arrays={"train": np.arange(3.0)})])
    assert state_of(one) == JobState.FAILED
    assert not Prediction.objects.exists()


def test_what_ran_again_has_the_predictions_of_its_last_attempt(version: PreparedData) -> None:
    one = fold(version)
    run(one)
    results.record([predicting(one, 1.0)])
    jobs.rerun(SubmissionFold.objects.all())
    run(one)
    results.record([predicting(one, 2.0)])
    assert predicted(one)[0][0] == 2.0


def test_a_fold_that_was_deleted_ends_without_predictions(version: PreparedData) -> None:
    gone, other = folds(version, 2)
    run(gone, other)
    said = [predicting(gone, 1.0), predicting(other, 2.0)]
    gone.delete()
    results.record(said)
    assert set(Job.objects.filter(queue="L").values_list("state", flat=True)) == {JobState.SUCCEEDED}
    assert Prediction.objects.get().fold_id == other.pk


def test_nothing_of_a_batch_that_cant_be_recorded_is(version: PreparedData) -> None:
    good, bad = folds(version, 2)
    run(good, bad)
    results.note([log_chunk(good, 0, "part")])
    before = rows()
    broken = {"train": blobs.put(b"no array")}
    with pytest.raises(predictions.PredictionsError):
        results.record([predicting(good, 1.0), outcome(bad, array_blobs=broken)])
    assert rows() == before
    assert not Prediction.objects.exists()
    assert not Dropped.objects.exists()
    assert LogPiece.objects.count() == 1


def test_the_number_of_statements_does_not_grow_with_the_batch(version: PreparedData) -> None:
    numbers = []
    for size in (2, 200):
        some = folds(version, size)
        run(*some)
        Job.objects.update(attempt=F("attempt") + 1)  # the kind that may have earlier predictions
        said = [predicting(one, 1.0) for one in some]
        with CaptureQueriesContext(connection) as captured:
            results.record([*said, *said])
        assert {state_of(one) for one in some} == {JobState.SUCCEEDED}
        numbers.append(len(captured))
    assert numbers[0] == numbers[1] < 20


# --- with the broker -----------------------------------------------------------------------------------


@pytest.fixture
def broker_connection(broker_url: str) -> Iterator[Connection]:
    with broker.connect(broker_url) as connection:
        broker.declare_all(connection)
        yield connection


def collect(connection: Connection, number: int) -> None:
    """A scheduler collects until it has dropped, parked or recorded this many results, and all is acknowledged."""
    collector = Collector(connection, Hearing())
    for _ in range(200):
        collector.run_once(timeout=0.1)
        ended = Job.objects.filter(queue="L", finished_at__isnull=False).count()
        if ended + Dropped.objects.count() >= number:
            return
    pytest.fail(f"fewer than {number} results were collected")


def waiting_in(broker_connection: Connection, name: str) -> int:
    queue = broker.queue(name)(broker_connection.channel())
    return int(queue.queue_declare(passive=True).message_count)


@pytest.mark.django_db(transaction=True)
def test_what_cant_be_read_is_parked_and_the_rest_of_the_batch_recorded(
    broker_connection: Connection, version: PreparedData
) -> None:
    good, bad, missing, failed, taken, taken_too = folds(version, 6)
    queued(taken, taken_too)
    run(good, bad, missing, failed)
    cut = wire.encode(predicting(bad, 1.0))[:-8]
    bodies = [
        b"garbage",
        wire.encode(predicting(good, 2.0, next=claim_of(taken))),
        cut,
        wire.encode(outcome(missing, array_blobs={"train": "0" * 64}, next=claim_of(taken_too))),
        wire.encode(predicting(good, 2.0)),
        wire.encode(outcome(failed, failure="timeout", message="too slow", next=Claim("no uuid", 1, RUNNER))),
        wire.encode(Outcome("no uuid", 1, RUNNER)),
    ]
    broker.publish_all(broker_connection, [(queues.RESULTS, body) for body in bodies])

    collect(broker_connection, len(bodies) + 1)  # one is both recorded and parked

    states_now = [state_of(one) for one in (good, bad, missing, failed, taken, taken_too)]
    assert states_now == ["succeeded", "running", "running", "failed", "running", "running"]
    assert [predicted(good)[0][0], Prediction.objects.count()] == [2.0, 1]
    why = sorted((row.reason, row.detail.split(":")[0]) for row in Dropped.objects.all())
    assert [reason for reason, _ in why] == ["parked"] * 5 + ["stale outcome"]
    assert why[-1] == ("stale outcome", "Attempt 1")
    assert all(detail for _, detail in why)
    assert waiting_in(broker_connection, queues.RESULTS) == 0
    assert waiting_in(broker_connection, queues.PARKED) == 5
