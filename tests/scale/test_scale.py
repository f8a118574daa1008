"""With 100,000 folds, of which a tenth waits, all that the scheduler does again and again, and every page of a list,
uses indexes: no statement reads one of the big tables from end to end. `bin/test --scale` asks for a million folds.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

import numpy as np
import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.db.models import Model
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoDbBlocker

from benchmarks import database
from datarun.broker import connection as broker
from datarun.contract.messages import Claim, HandedBack, LogChunk, Outcome, Result, StageReached, Stopped
from datarun.contract.states import FoldState, JobState
from runapp.models import Dropped, Job, Prediction, RawData, Runner, Submission, SubmissionFold
from runapp.scheduler import reap
from runapp.scheduler.dispatch import Dispatcher
from runapp.services import results, retention
from tests.integration.jobs import RUNNER, live

FOLDS = int(os.environ.get("SCALE_FOLDS", "100_000"))
WAITING = FOLDS // 10
SLOTS = 40
BIG = "runapp_(job|attempt|submission|submissionfold|prediction|dropped)"
LAST = FOLDS - 5  # a fold that waits

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def _filled(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The folds, analysed, for all tests of this module; each leaves them as they are."""
    with django_db_blocker.unblock():
        database.fill(FOLDS, WAITING)
        yield
        call_command("flush", interactive=False, verbosity=0)


@pytest.fixture(autouse=True)
def _use(_filled: None, db: None) -> None:
    lives(SLOTS)


def lives(slots: int) -> None:
    """The runner is there, however slow the test may be."""
    live(RUNNER, slots=slots)
    Runner.objects.update(last_seen=Now() + timedelta(hours=1))


class Statement(Protocol):
    def __call__(self, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any: ...


class Plans:
    """What PostgreSQL says of each statement that is executed: with its parameters, before it is."""

    def __init__(self) -> None:
        self.plans: list[str] = []

    def __call__(self, execute: Statement, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", sql):
            with connection.connection.cursor() as cursor:
                cursor.execute("EXPLAIN " + sql, params)
                plan = "\n".join(line for (line,) in cursor.fetchall())
            self.plans.append(f"{sql[:2000]}\n{plan[:4000]}")
        return execute(sql, params, many, context)

    @property
    def reading_all(self) -> list[str]:
        return [plan for plan in self.plans if re.search(rf"Seq Scan on {BIG}\b", plan)]


@contextmanager
def indexed() -> Iterator[Plans]:
    """Fails if a statement executed meanwhile reads a big table from end to end."""
    plans = Plans()
    with connection.execute_wrapper(plans):
        yield plans
    assert plans.plans
    assert not plans.reading_all, "\n\n".join(plans.reading_all)


def in_flight(number: int = SLOTS, state: JobState = JobState.RUNNING) -> list[UUID]:
    """So many of the waiting jobs are queued, or run."""
    ids = list(
        Job.objects.filter(state=JobState.CREATED)
        .order_by("created_at")
        .values_list("pk", flat=True)[:number]
    )
    Job.objects.filter(pk__in=ids).update(
        state=state, attempt=1, runner=RUNNER, queued_at=Now(), started_at=Now(), deadline=Now()
    )
    return ids


def test_the_check_sees_a_table_that_is_read_from_end_to_end() -> None:
    with pytest.raises(AssertionError, match="Seq Scan on runapp_job"), indexed():
        assert Job.objects.filter(message="none has it").count() == 0


# --- the scheduler -------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=False)
def test_a_round_of_dispatch(broker_url: str) -> None:
    with broker.connect(broker_url) as broker_connection:
        broker.declare_all(broker_connection)
        dispatcher = Dispatcher(broker_connection)
        with indexed():
            published = dispatcher.run_once()
        assert SLOTS <= published <= 25 * SLOTS  # a second of work, and no more than 24 orders a slot


def test_a_round_of_dispatch_costs_as_many_statements_for_many_orders_as_for_few(broker_url: str) -> None:
    with broker.connect(broker_url) as broker_connection:
        broker.declare_all(broker_connection)
        numbers, published = [], []
        for slots in (2, 20):
            lives(slots)
            dispatcher = Dispatcher(broker_connection)
            with indexed() as plans:
                published.append(dispatcher.run_once())
            numbers.append(len(plans.plans))
        assert published[1] > 5 * published[0]
        assert numbers[0] == numbers[1]


def test_a_batch_of_claims_and_events() -> None:
    ids = [str(id) for id in in_flight(state=JobState.QUEUED)]
    with indexed():
        results.record([Claim(id, 1, RUNNER) for id in ids])
    assert Job.objects.filter(state=JobState.RUNNING).count() == len(ids)
    with indexed():
        results.note([StageReached(id, 1, RUNNER, "trained") for id in ids])
        results.note([LogChunk(id, 1, RUNNER, 0, "line\n") for id in ids])
        live(RUNNER, slots=SLOTS, running=dict.fromkeys(ids, 1))


def test_a_batch_of_500_outcomes() -> None:
    *ids, failing, lost, leaving = [str(id) for id in in_flight(503)]
    arrays = {"train": np.zeros(1000), "test": np.zeros(500)}
    with indexed():
        results.record(
            [
                *(Outcome(id, 1, RUNNER, arrays=arrays) for id in ids),
                Outcome(failing, 1, RUNNER, failure="user_error"),
                Outcome(lost, 1, RUNNER, failure="environment"),
                HandedBack(leaving, 1, RUNNER),
                *(Outcome(id, 2, RUNNER) for id in ids[:3]),
            ]
        )
    assert Job.objects.filter(pk__in=ids, state=JobState.SUCCEEDED).count() == 500
    assert Prediction.objects.filter(fold__job__in=ids).count() == 500


def test_a_sweep() -> None:
    in_flight(20, JobState.RUNNING)
    in_flight(20, JobState.QUEUED)
    long = Job.objects.filter(state=JobState.CREATED)[:2].values("pk")
    Job.objects.filter(pk__in=long).update(deadline=Now() - timedelta(days=1))
    in_time = Job.objects.filter(state=JobState.QUEUED)
    in_time.update(queued_at=Now() - timedelta(minutes=1), deadline=Now() - timedelta(seconds=1))
    Job.objects.filter(state=JobState.RUNNING).update(deadline=Now() - timedelta(seconds=1))
    with indexed():
        ended = reap.run_once(hearing=True)
    assert ended == 42


@pytest.mark.parametrize(
    "ends",
    [
        lambda id: Outcome(id, 1, RUNNER, failure="environment", message="no disk"),
        lambda id: HandedBack(id, 1, RUNNER),
        lambda id: Stopped(id, 1, RUNNER),
        lambda id: Outcome(id, 1, RUNNER, failure="user_error"),
        lambda id: Outcome(id, 2, RUNNER),
    ],
)
def test_a_batch_of_whatever_end_costs_no_statement_each(ends: Callable[[str], Result]) -> None:
    numbers = []
    for size in (2, 60):
        ids = in_flight(size)
        with indexed() as plans:
            results.record([ends(str(id)) for id in ids])
        numbers.append(len(plans.plans))
        Job.objects.filter(pk__in=ids).update(state=JobState.SUCCEEDED)
    assert numbers[0] == numbers[1]


def test_a_sweep_of_many_lost_jobs_costs_no_statement_each() -> None:
    numbers = []
    for size in (2, 60):
        lost = Job.objects.filter(pk__in=in_flight(size))
        lost.update(deadline=Now() - timedelta(seconds=1))
        with indexed() as plans:
            assert reap.run_once(hearing=True) == size
        numbers.append(len(plans.plans))
        lost.update(state=JobState.SUCCEEDED)
    assert numbers[0] == numbers[1]


def test_orders_that_may_wait_cost_a_sweep_no_statement_each() -> None:
    busy = in_flight(SLOTS, JobState.RUNNING)
    Job.objects.filter(pk__in=busy).update(deadline=Now() + timedelta(minutes=1))
    numbers = []
    for more in (5, 100):
        ids = in_flight(more, JobState.QUEUED)
        Job.objects.filter(pk__in=ids).update(deadline=Now() - timedelta(seconds=1))
        with indexed() as plans:
            assert reap.run_once(hearing=True) == 0
        numbers.append(len(plans.plans))
    assert numbers[0] == numbers[1]


def test_tidying_up() -> None:
    with indexed():
        retention.clean()


# --- lists ---------------------------------------------------------------------------------------------

Get = Callable[[str], Any]


@pytest.fixture
def get() -> Get:
    """Asks for a page as an administrator; it must not read a big table from end to end."""
    browser = Client()
    browser.force_login(User.objects.create_superuser("admin"))

    def get(url: str) -> Any:
        with indexed():
            answer = browser.get(url)
        assert answer.status_code == 200, answer.content
        return answer

    return get


@pytest.fixture
def raw_data() -> int:
    return RawData.objects.order_by("pk")[3].pk


ROUTES = ("/runapp/submissionfold/", "/runapp/submissionfold-light/")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("offset", [0, 1000, FOLDS - 200])
def test_a_page_of_folds_however_far(get: Get, route: str, offset: int) -> None:
    rows = get(f"{route}?limit=100&offset={offset}").json()
    assert [row["databoard_sf_id"] for row in rows] == list(range(offset + 1, offset + 101))


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("state", FoldState)
def test_a_page_of_folds_in_a_state(get: Get, raw_data: int, route: str, state: FoldState) -> None:
    trained, validated, *_ = in_flight()
    Job.objects.filter(pk=trained).update(stage="trained")
    Job.objects.filter(pk=validated).update(stage="validated")
    rows = get(f"{route}?limit=30&state={state}").json()
    assert {row["state"] for row in rows} == {state}
    assert len(rows) == (1 if state in (FoldState.TRAINED, FoldState.VALIDATED) else 30)
    ids = [row["databoard_sf_id"] for row in rows]
    assert ids == sorted(ids)
    get(f"{route}?limit=30&offset=2&state={state}&raw_data={raw_data}")


@pytest.mark.parametrize("route", ROUTES)
def test_a_page_of_the_folds_of_a_data_set_or_a_submission(get: Get, raw_data: int, route: str) -> None:
    assert len(get(f"{route}?limit=100&raw_data={raw_data}").json()) == 100
    assert len(get(f"{route}?submission=77").json()) == 10
    assert len(get(f"{route}?submission={LAST // 10}&state=TODO").json()) > 0


@pytest.mark.parametrize("fold", [1001, LAST])
def test_the_pages_of_a_fold(get: Get, fold: int) -> None:
    for page in ("", "attempts/", "log/"):
        get(f"/runapp/submissionfold/{fold}/{page}")
    get(f"/runapp/submission/{fold // 10}/waiting/")


def test_pages_about_everything(get: Get) -> None:
    for page in ("/runapp/rawdata/?limit=10", "/runapp/runners/", "/metrics"):
        get(page)


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("list/", {"list_submission_fold": list(range(1, 101))}),
        ("new/", {"limit": 10}),
        ("new/", {"limit": 10, "raw_data_id": None}),
    ],
)
def test_asking_for_predictions(route: str, body: dict[str, Any], raw_data: int) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("client"))
    text = json.dumps(body if "raw_data_id" not in body else body | {"raw_data_id": raw_data})
    with indexed():
        answer = client.post(f"/runapp/testpredictions/{route}", text, content_type="application/json")
    assert len(answer.json()) >= 10


@pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model._meta.model_name)
def test_the_lists_of_the_admin_pages(get: Get, model: type[Model]) -> None:
    pages = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    for query in ("", "?p=2"):
        get(pages + query)


@pytest.mark.parametrize("model", [Job, SubmissionFold, Submission, Dropped])
def test_the_admin_pages_of_a_row_and_the_way_to_it(get: Get, model: type[Model]) -> None:
    pages = reverse(f"admin:runapp_{model._meta.model_name}_changelist")
    row = model._default_manager.order_by("pk")[1000]
    name = row.job if isinstance(row, Dropped) else row.pk
    assert f"{pages}{row.pk}/" in get(f"{pages}?q={name}").content.decode()
    get(f"{pages}{row.pk}/change/")


def test_the_filtered_lists_of_the_admin_pages(get: Get, raw_data: int) -> None:
    for query in ("state__exact=created", "state__exact=failed", "state__exact=running"):
        get(f"/admin/runapp/job/?{query}")
    for query in (
        "job__state__exact=created",
        "new__exact=1",
        f"databoard_s__raw_data__id__exact={raw_data}",
    ):
        get(f"/admin/runapp/submissionfold/?{query}")
    get(f"/admin/runapp/submission/?raw_data__id__exact={raw_data}")
    for reason in ("stale claim", "parked"):
        assert reason in get(f"/admin/runapp/dropped/?reason={reason}").content.decode()
