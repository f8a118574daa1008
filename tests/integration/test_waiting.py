"""Why a fold waits: the reason, its position and an estimate, in the same words by API, admin and log."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from datarun.contract import queues
from datarun.contract.states import JobState
from runapp import states
from runapp.models import Job, PreparedData, SubmissionFold
from runapp.services import fairness, raw_data, results, waiting
from runapp.services.fairness import Turns
from tests.integration.helpers import Api, accepted, organiser
from tests.integration.jobs import (
    RUNNER,
    claim,
    data_set,
    fold,
    folds,
    job_of,
    later,
    live,
    outcome,
    prepared,
    queued,
    running,
    user,
)

pytestmark = pytest.mark.django_db

L, H, PREPARATION = queues.LIGHT, queues.HEAVY, queues.PREPARATION


@pytest.fixture
def version() -> PreparedData:
    return prepared()


def explained(one: SubmissionFold) -> waiting.Waiting:
    reason = waiting.explain(job_of(one))
    assert reason is not None
    return reason


def why(one: SubmissionFold) -> str:
    return explained(one).why


def position(one: SubmissionFold) -> int | None:
    return explained(one).position


def finished(version: PreparedData, seconds: list[float], queue: str = L) -> None:
    """Folds of the queue that have run for so long."""
    now = timezone.now()
    for lasted in seconds:
        started = {"started_at": now - timedelta(seconds=lasted), "finished_at": now}
        fold(version, queue=queue, state=JobState.SUCCEEDED, attempt=1, deadline=None, **started)


# --- reasons -------------------------------------------------------------------------------------------


def test_what_runs_or_has_ended_waits_for_nothing(version: PreparedData) -> None:
    one = fold(version)
    running(one)
    assert waiting.explain(job_of(one)) is None
    results.record([outcome(one)])
    assert waiting.explain(job_of(one)) is None


def test_on_data_that_nobody_has_split_it_says_what_to_do() -> None:
    live()
    assert why(fold(data_set())) == (
        "Its data set has not been split yet: ask for rawdata/split/ or rawdata/customsplit/."
    )


def test_while_its_data_is_prepared_it_names_the_job() -> None:
    posted = data_set()
    one = fold(posted)
    task = raw_data.split(user(), posted.pk, 0.2, 42).job_id
    assert states.queue([task])
    results.record([results.Claim(str(task), 1, RUNNER)])
    assert why(one) == f"Its data set is being prepared (job {task})."


def test_before_its_data_is_prepared_it_says_what_that_waits_for() -> None:
    posted = data_set()
    one = fold(posted)
    task = raw_data.split(user(), posted.pk, 0.2, 42).job_id
    live(serves=[L])
    assert why(one) == (
        f"Its data set waits to be prepared (job {task}): No live runner serves queue {PREPARATION}."
    )
    live("runner-2", serves=[PREPARATION], slots=2)
    assert why(one).endswith(f"(job {task}): All 2 slots that serve queue {PREPARATION} are busy.")


def test_without_a_runner_that_serves_its_queue_it_names_the_queue(version: PreparedData) -> None:
    light, heavy = fold(version), fold(version, queue=H)
    live(serves=[L])
    assert why(heavy) == "No live runner serves queue H."
    assert why(light) != "No live runner serves queue L."
    queued(heavy)
    assert why(heavy) == "No live runner serves queue H."


@pytest.mark.parametrize("reason", ["gone", "draining", "incompatible"])
def test_a_runner_that_takes_no_orders_serves_no_queue(version: PreparedData, reason: str) -> None:
    one = fold(version)
    live(leaving=reason == "draining")
    if reason == "gone":
        later(seconds=13)
    if reason == "incompatible":
        results.note_incompatible(RUNNER, "0")
    assert why(one) == "No live runner serves queue L."


def test_while_all_slots_are_busy_it_says_how_many_there_are(version: PreparedData) -> None:
    one = fold(version)
    live(slots=3)
    live("runner-2", slots=4, serves=[L, H])
    live("runner-3", slots=5, serves=[H])
    assert why(one) == "All 7 slots that serve queue L are busy."


def test_an_order_in_the_broker_waits_for_the_next_slot(version: PreparedData) -> None:
    one = fold(version)
    live()
    queued(one)
    assert why(one) == "Its order is in queue L: the next free slot takes it."


def test_after_a_loss_it_is_tried_again_soon(version: PreparedData) -> None:
    one = fold(version)
    live()
    running(one)
    results.record([outcome(one, failure="environment")])
    assert why(one) == "It is tried again soon, after attempt 1."
    later(minutes=2)
    live()
    assert why(one) == "All 1 slots that serve queue L are busy."


def test_at_its_owners_cap_it_names_the_cap(version: PreparedData, settings: Settings) -> None:
    settings.MAX_RUNNING_PER_SHARE = 2
    first, second, third = folds(version, 3, owner=user("ada"))
    other = fold(version, owner=user("grace"))
    live(slots=5)
    running(first)
    assert "cap" not in why(third)
    queued(second)
    assert why(third) == "Its owner has 2 jobs running, which is the cap."
    assert "cap" not in why(other)


# --- position ------------------------------------------------------------------------------------------


def test_positions_count_from_one_in_the_order_of_turns(version: PreparedData) -> None:
    live()
    ada = folds(version, 3, owner=user("ada"))
    later(minutes=1)
    grace = folds(version, 2, owner=user("grace"))
    order = sorted((*ada, *grace), key=lambda one: position(one) or 0)
    assert [position(one) for one in order] == [1, 2, 3, 4, 5]
    assert order.index(ada[0]) == 0 or order.index(ada[1]) == 0 or order.index(ada[2]) == 0
    owners = [job_of(one).owner for one in order]
    assert [str(owner) for owner in owners] == ["ada", "grace", "ada", "grace", "ada"]


def test_positions_are_those_in_which_folds_are_dispatched(version: PreparedData) -> None:
    live()
    for name in ("ada", "grace", "mary"):
        folds(version, 3, owner=user(name))
        later(minutes=1)
    expected = sorted(SubmissionFold.objects.all(), key=lambda one: position(one) or 0)
    assert Turns().next(L, 9) == [one.job_id for one in expected]


def test_a_thousand_folds_of_another_move_nobody_far_back(version: PreparedData) -> None:
    live()
    folds(version, 1000, owner=user("ada"))
    later(minutes=1)
    assert position(fold(version, owner=user("grace"))) == 2


def test_orders_in_the_broker_come_first(version: PreparedData) -> None:
    live()
    first, second, waits = folds(version, 3)
    queued(first)
    queued(second)
    assert [position(one) for one in (first, second, waits)] == [1, 2, 3]


def test_what_is_in_another_queue_or_can_t_start_counts_for_nothing(version: PreparedData) -> None:
    live()
    folds(version, 5, queue=H)
    folds(version, 5, waits_for_data=True)
    running(fold(version))
    later(minutes=1)
    assert position(fold(version)) == 1


def test_positions_are_counted_up_to_a_limit(version: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FAR", 4)
    live()
    many = folds(version, 6)
    positions = sorted(position(one) or 0 for one in many)
    assert positions == [1, 2, 3, 4, 4, 4]
    texts = [str(explained(one)) for one in many]
    assert sum("Position 4 or later in its queue." in text for text in texts) == 3
    assert sum("Position 2 in its queue." in text for text in texts) == 1


@pytest.mark.parametrize("shares", [1, 7, 40])
def test_the_last_one_is_behind_all_others(version: PreparedData, shares: int) -> None:
    for number in range(shares):
        folds(version, 3, owner=user(f"user {number}"))
    places = sorted(fairness.before(job, 1000) for job in Job.objects.filter(kind="fold"))
    assert places == list(range(3 * shares))


# --- estimate ------------------------------------------------------------------------------------------


def test_the_estimate_is_from_recent_durations_and_slots(version: PreparedData) -> None:
    live(slots=2)
    finished(version, [10, 20, 30])
    finished(version, [5000], queue=H)
    running(fold(version))
    (one,) = folds(version, 1)
    reason = explained(one)
    assert (reason.position, reason.seconds) == (1, pytest.approx(10))
    assert str(reason) == (
        "All 2 slots that serve queue L are busy. Position 1 in its queue. About 0:00:10 until it starts."
    )


def test_without_recent_jobs_there_is_no_estimate(version: PreparedData) -> None:
    live()
    assert explained(fold(version)).seconds is None


def test_no_duration_is_negative(version: PreparedData) -> None:
    """A fold that was claimed and has ended in the same batch ran for a moment."""
    one, next_one = folds(version, 2)
    live()
    queued(one)
    results.record([claim(one), outcome(one)])
    mean = waiting.mean_seconds(L)
    assert mean is not None
    assert mean >= 0
    assert (explained(next_one).seconds or 0) >= 0


# --- where it is said ----------------------------------------------------------------------------------


@pytest.fixture
def api() -> Api:
    return organiser()


def test_a_fold_says_it_in_its_detail(api: Api, version: PreparedData) -> None:
    one = fold(version)
    answer = accepted(api.ask(f"submissionfold/{one.pk}/"), 200)
    assert answer["waiting"] == {"why": "No live runner serves queue L.", "position": 1, "seconds": None}
    running(one)
    assert accepted(api.ask(f"submissionfold/{one.pk}/"), 200)["waiting"] is None


def test_a_submission_says_it_for_its_fold_that_is_next(api: Api, version: PreparedData) -> None:
    first = fold(version)
    later(minutes=1)
    fold(version, queue=H)
    live(serves=[L])
    asked = accepted(api.ask("submission/1/waiting/"), 200)
    assert asked["waiting"]["why"] == "All 1 slots that serve queue L are busy."
    running(first)
    asked = accepted(api.ask("submission/1/waiting/"), 200)
    assert asked["waiting"]["why"] == "No live runner serves queue H."
    SubmissionFold.objects.all().delete()
    assert accepted(api.ask("submission/1/waiting/"), 200) == {"waiting": None}
    assert api.ask("submission/7/waiting/").status_code == 404


def test_admin_and_log_say_the_same(client: Client, version: PreparedData) -> None:
    one = fold(version)
    reason = "No live runner serves queue L."
    client.force_login(User.objects.create_superuser("root"))
    page = client.get(f"/admin/runapp/submissionfold/{one.pk}/change/").content.decode()
    assert reason in page
    assert waiting.summary() == [f"1 jobs wait in queue L: {reason}"]
