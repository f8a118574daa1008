"""Heartbeats: which runners there are, what they run, who of them gets work, and whose jobs live on."""

import time

import pytest
from kombu import Connection
from pytest_django import DjangoAssertNumQueries

from datarun.broker import connection as broker
from datarun.contract import messages, queues, wire
from datarun.contract.messages import Heartbeat
from datarun.contract.states import JobState
from runapp import states
from runapp.models import Dropped, Job, PreparedData, Runner
from runapp.scheduler.collect import Collector, Hearing
from runapp.scheduler.dispatch import Dispatcher
from runapp.services import results, runners
from tests.integration.helpers import PATIENCE
from tests.integration.jobs import (
    RUNNER,
    fold,
    folds,
    job_of,
    later,
    live,
    outcome,
    overdue,
    prepared,
    queued,
    running,
    state_of,
)

pytestmark = pytest.mark.django_db

L, H = queues.LIGHT, queues.HEAVY


@pytest.fixture
def version() -> PreparedData:
    return prepared()


def state(name: str = RUNNER) -> str:
    return runners.state(Runner.objects.get(pk=name))


# --- runners -------------------------------------------------------------------------------------------


def test_a_runner_is_known_by_what_it_says() -> None:
    live("runner-1", slots=4, serves=[L, H], running={})
    runner = Runner.objects.get()
    assert (runner.name, runner.queues, runner.slots, runner.running) == ("runner-1", [L, H], 4, [])
    assert runner.versions == {"numpy": "2.0"}
    live("runner-1", slots=2, serves=[L])
    runner.refresh_from_db()
    assert (runner.queues, runner.slots) == ([L], 2)


def test_a_runner_is_live_while_it_is_heard_of_and_gone_within_fifteen_seconds() -> None:
    live()
    assert state() == "live"
    later(seconds=11)
    assert state() == "live"
    later(seconds=3)
    assert state() == "gone"
    live()
    assert state() == "live"


def test_a_runner_that_leaves_drains_and_then_is_gone() -> None:
    live(leaving=True)
    assert state() == "draining"
    assert not runners.live().exists()
    later(seconds=15)
    assert state() == "gone"


def test_it_is_known_what_a_runner_runs_now(version: PreparedData) -> None:
    one = fold(version)
    running(one)
    live(running={str(one.job_id): 1})
    assert Runner.objects.get().running == [str(one.job_id)]


# --- leases --------------------------------------------------------------------------------------------


def test_the_lease_of_a_job_goes_on_while_its_runner_says_that_it_runs(version: PreparedData) -> None:
    kept, forgotten = folds(version, 2)
    for one in (kept, forgotten):
        running(one)
    for _ in range(5):
        later(seconds=4)
        live(running={str(kept.job_id): 1})
    assert set(states.overdue()) == {job_of(forgotten)}


def test_a_runner_prolongs_no_lease_of_another(version: PreparedData) -> None:
    one = fold(version)
    running(one)
    later(seconds=13)
    live("runner-2", running={str(one.job_id): 1})
    assert set(states.overdue()) == {job_of(one)}


def test_who_works_on_what_has_ended_is_told_to_stop(version: PreparedData) -> None:
    ended, cancelled, lost, elsewhere = folds(version, 4)
    for one in (ended, lost, elsewhere):
        running(one, "runner-2" if one is elsewhere else RUNNER)
    results.record([outcome(ended)])
    states.cancel(Job.objects.filter(pk=cancelled.job_id))
    overdue(lost.job_id)
    assert results.lose({job_of(lost): "It fell silent."})
    told = live(running={str(one.job_id): 1 for one in (ended, cancelled, lost, elsewhere)})
    assert {(to.runner, to.stop.job, to.stop.attempt) for to in told} == {
        (RUNNER, str(one.job_id), 1) for one in (ended, cancelled, lost, elsewhere)
    }


def test_who_works_on_what_is_its_own_is_told_nothing(version: PreparedData) -> None:
    runs, claim_on_its_way = folds(version, 2)
    running(runs)
    queued(claim_on_its_way)
    assert live(running={str(runs.job_id): 1, str(claim_on_its_way.job_id): 1}) == []


def test_the_statements_for_a_heartbeat_are_few_however_much_runs(
    version: PreparedData, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    many = folds(version, 30)
    for one in many:
        running(one)
    live(slots=30)
    with django_assert_max_num_queries(10):
        live(slots=30, running={str(one.job_id): 1 for one in many})


# --- another contract version --------------------------------------------------------------------------


@pytest.fixture
def connection(broker_url: str) -> Connection:
    with broker.connect(broker_url) as opened:
        broker.declare_all(opened)
        yield opened


def _of_another_version(monkeypatch: pytest.MonkeyPatch, name: str) -> bytes:
    with monkeypatch.context() as patch:
        patch.setattr(wire, "CONTRACT_VERSION", messages.CONTRACT_VERSION + 1)
        return wire.encode(Heartbeat(name, (L, H), 4, {}, {}))


def _collect(connection: Connection, body: bytes) -> None:
    broker.publish(connection, queues.EVENTS, body)
    collector = Collector(connection, Hearing())
    until = time.monotonic() + PATIENCE
    while not Runner.objects.exists():
        assert time.monotonic() < until, "it was not collected"
        collector.run_once(timeout=0.1)


def test_a_runner_of_another_contract_version_is_known_and_gets_no_work(
    connection: Connection, version: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    _collect(connection, _of_another_version(monkeypatch, RUNNER))
    assert state() == "incompatible: upgrade it"
    assert Runner.objects.get().versions == {"contract": str(messages.CONTRACT_VERSION + 1)}
    one = fold(version)
    assert Dispatcher(connection).run_once() == 0
    assert state_of(one) == JobState.CREATED
    assert not Dropped.objects.exists(), "it is no broken message"


def test_a_runner_that_was_upgraded_gets_work_again(
    connection: Connection, version: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    _collect(connection, _of_another_version(monkeypatch, RUNNER))
    live()
    assert state() == "live"
    one = fold(version)
    assert Dispatcher(connection).run_once() == 1
    assert state_of(one) == JobState.QUEUED


@pytest.mark.parametrize("name", ["x" * 10_000, "nul\0 and half \ud800"])
def test_whatever_an_incompatible_runner_calls_itself_it_is_known(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _collect(connection, _of_another_version(monkeypatch, name))
    assert Runner.objects.get().incompatible
