"""``/metrics``, as Prometheus reads it: how much waits, runs and ends, how long that takes, and what was dropped."""

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import transaction
from django.db.models import F
from django.test import Client
from kombu import Connection
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from datarun.broker import connection as broker
from datarun.contract import queues
from datarun.contract.states import JobState
from runapp.models import Dropped, Job, PreparedData, SubmissionFold
from runapp.scheduler.collect import Collector, Hearing
from runapp.scheduler.dispatch import Dispatcher
from runapp.services import jobs, metrics, raw_data, results
from tests.integration.helpers import PATIENCE
from tests.integration.jobs import (
    claim,
    data_set,
    fold,
    folds,
    handed_back,
    job_of,
    later,
    live,
    outcome,
    overdue,
    prepared,
    queued,
    running,
    stopped,
    user,
)

pytestmark = pytest.mark.django_db

Labels = dict[str, str]


@pytest.fixture
def version() -> PreparedData:
    return prepared()


def families() -> dict[str, Metric]:
    """What anybody reads, without credentials."""
    answer = Client().get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return {family.name: family for family in text_string_to_metric_families(answer.content.decode())}


def value(name: str, **labels: str) -> float | None:
    """Of the sample with this name and exactly these labels."""
    samples = [sample for family in families().values() for sample in family.samples]
    return next((sample.value for sample in samples if (sample.name, sample.labels) == (name, labels)), None)


def by_label(name: str, label: str) -> dict[str, float]:
    samples = [sample for family in families().values() for sample in family.samples]
    return {sample.labels[label]: sample.value for sample in samples if sample.name == name}


# --- now -----------------------------------------------------------------------------------------------


def test_all_that_is_promised_is_there_and_explained() -> None:
    found = {name: family.type for name, family in families().items()}
    assert found == {
        "datarun_jobs": "gauge",
        "datarun_runners_live": "gauge",
        "datarun_attempts": "counter",
        "datarun_dropped": "counter",
        "datarun_wait_seconds": "histogram",
        "datarun_run_seconds": "histogram",
        "datarun_batch_size": "histogram",
        "datarun_lag_seconds": "histogram",
    }
    assert all(family.documentation.endswith(".") for family in families().values())


def test_jobs_are_counted_by_state_queue_and_kind(version: PreparedData) -> None:
    folds(version, 3)
    queued(*folds(version, 2, queue="H"))
    running(fold(version))
    ended = fold(version)
    running(ended)
    results.record([outcome(ended)])
    raw_data.split(user(), data_set("other").pk, 0.2, 42)
    counted = {
        (sample.labels["state"], sample.labels["queue"], sample.labels["kind"]): sample.value
        for sample in families()["datarun_jobs"].samples
    }
    assert counted == {
        ("created", "L", "fold"): 3,
        ("created", "H", "fold"): 0,
        ("created", "celery", "prepare"): 1,
        ("queued", "L", "fold"): 0,
        ("queued", "H", "fold"): 2,
        ("queued", "celery", "prepare"): 0,
        ("running", "L", "fold"): 1,
        ("running", "H", "fold"): 0,
        ("running", "celery", "prepare"): 0,
    }


def test_runners_are_counted_while_they_take_orders() -> None:
    assert value("datarun_runners_live") == 0
    live("runner-1")
    live("runner-2")
    live("runner-3", leaving=True)
    assert value("datarun_runners_live") == 2
    later(seconds=13)
    assert value("datarun_runners_live") == 0


# --- how it ended, and when ----------------------------------------------------------------------------


def test_attempts_are_counted_by_how_they_ended(version: PreparedData) -> None:
    good, bad, ours, lost, back, gone, never_ran = folds(version, 7)
    for one in (good, bad, ours, lost, back, gone):
        running(one)
    results.record([outcome(good), outcome(bad, failure="user_error"), outcome(ours, failure="environment")])
    overdue(lost.job_id)
    assert results.lose(job_of(lost), "It fell silent.")
    jobs.cancel(SubmissionFold.objects.filter(pk__in=[gone.pk, never_ran.pk]))
    results.record([handed_back(back), stopped(gone)])
    results.record([outcome(good), stopped(gone)])  # these change nothing
    assert by_label("datarun_attempts_total", "outcome") == {
        "succeeded": 1,
        "user_error": 1,
        "environment": 1,
        "lost": 1,
        "handed back": 1,
        "cancelled": 1,
    }


def test_waiting_and_running_times_are_histograms(version: PreparedData) -> None:
    for waited, ran in ((0.5, 2), (20, 2), (20, 40), (9999, 9999)):
        one = fold(version)
        running(one)
        result = outcome(one)
        Job.objects.filter(pk=one.job_id).update(
            created_at=F("started_at") - timedelta(seconds=waited + ran),
            started_at=F("started_at") - timedelta(seconds=ran),
        )
        results.record([result])
    about = {"queue": "L", "kind": "fold"}
    for name, expected in (
        ("datarun_wait_seconds", {"0.3": 0, "1": 1, "10": 1, "30": 3, "3600": 3, "+Inf": 4}),
        ("datarun_run_seconds", {"1": 0, "3": 2, "30": 2, "100": 3, "3600": 3, "+Inf": 4}),
    ):
        buckets = {
            sample.labels["le"]: sample.value
            for sample in families()[name].samples
            if sample.name == f"{name}_bucket"
        }
        assert list(buckets.values()) == sorted(buckets.values()), "they are cumulative"
        assert {bound: buckets[bound] for bound in expected} == expected
        assert value(f"{name}_count", **about) == 4
    assert value("datarun_wait_seconds_sum", **about) == pytest.approx(0.5 + 20 + 20 + 9999, abs=1)
    assert value("datarun_run_seconds_sum", **about) == pytest.approx(2 + 2 + 40 + 9999, abs=1)


def test_queues_and_kinds_have_histograms_of_their_own(version: PreparedData) -> None:
    light, heavy = fold(version), fold(version, queue="H")
    for one in (light, heavy):
        running(one)
        results.record([outcome(one)])
    for queue in ("L", "H"):
        assert value("datarun_run_seconds_count", queue=queue, kind="fold") == 1


# --- dropped -------------------------------------------------------------------------------------------


def test_what_is_dropped_is_counted_by_reason_for_ever(version: PreparedData) -> None:
    one = fold(version)
    queued(one)
    taken = claim(one)
    results.record([taken, claim(one, "runner-2"), claim(one, "runner-3"), outcome(one)])
    results.record([outcome(one)])
    expected = {"stale claim": 2, "stale outcome": 1}
    assert by_label("datarun_dropped_total", "reason") == expected
    Dropped.objects.all().delete()
    assert by_label("datarun_dropped_total", "reason") == expected


# --- the scheduler -------------------------------------------------------------------------------------


@pytest.fixture
def connection(broker_url: str) -> Iterator[Connection]:
    with broker.connect(broker_url) as opened:
        broker.declare_all(opened)
        yield opened


def test_batches_of_dispatch_have_a_size_and_a_lag(connection: Connection, version: PreparedData) -> None:
    dispatcher = Dispatcher(connection)
    assert value("datarun_batch_size_count", duty="dispatch") is None
    live(slots=4, serves=[queues.LIGHT])
    folds(version, 4)
    assert dispatcher.run_once() == 4
    folds(version, 1)
    assert dispatcher.run_once() == 1
    assert dispatcher.run_once() == 0
    assert value("datarun_batch_size_count", duty="dispatch") == 2
    assert value("datarun_batch_size_sum", duty="dispatch") == 5
    assert value("datarun_batch_size_bucket", duty="dispatch", le="1") == 1
    assert value("datarun_lag_seconds_count", duty="dispatch") == 2
    lag = value("datarun_lag_seconds_sum", duty="dispatch")
    assert lag is not None
    assert 0 < lag < PATIENCE


def test_batches_of_collect_have_a_size_and_the_lag_of_its_pings(connection: Connection) -> None:
    hearing = Hearing()
    collector = Collector(connection, hearing)
    until = time.monotonic() + PATIENCE
    while not hearing.seconds():
        assert time.monotonic() < until
        collector.run_once(timeout=0.1)
    heard = value("datarun_lag_seconds_count", duty="collect")
    assert heard is not None
    assert heard >= len(queues.COLLECTED)
    assert (value("datarun_batch_size_sum", duty="collect") or 0) >= heard
    lag = value("datarun_lag_seconds_sum", duty="collect")
    assert lag is not None
    assert 0 <= lag < PATIENCE


def test_the_lag_is_the_age_of_what_is_collected(connection: Connection) -> None:
    """A backlog shows."""
    hearing, other = Hearing(), Hearing()
    pings = [hearing.ping(queues.EVENTS), other.ping(queues.EVENTS)]
    late = type(pings[0])(pings[0].sender, pings[0].number - 60_000)
    assert hearing.lags([late, pings[1]]) == [pytest.approx(60, abs=PATIENCE)]


# --- what is counted stays true ------------------------------------------------------------------------


def test_what_is_rolled_back_is_not_counted(version: PreparedData) -> None:
    one = fold(version)
    running(one)
    with transaction.atomic():
        results.record([outcome(one)])
        transaction.set_rollback(True)
    assert by_label("datarun_attempts_total", "outcome") == {}
    results.record([outcome(one)])
    assert by_label("datarun_attempts_total", "outcome") == {"succeeded": 1}


def test_many_jobs_cost_the_page_little(version: PreparedData, django_assert_max_num_queries: object) -> None:
    folds(version, 100)
    assert value("datarun_jobs", state=JobState.CREATED.value, queue="L", kind="fold") == 100
    with django_assert_max_num_queries(4):  # type: ignore[operator]
        families()


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0, "0.01"), (0.01, "0.01"), (0.011, "0.03"), (3600, "3600"), (3601, "+Inf")]
)
def test_a_value_is_in_the_smallest_bucket_that_it_fits(seconds: float, bucket: str) -> None:
    assert metrics.HISTOGRAMS["datarun_wait_seconds"].bucket(seconds) == bucket
