"""Why a fold waits: the reason, its position and an estimate, in the same words by API, admin and log."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape
from pytest_django import Settings

from datarun.contract import queues
from datarun.contract.states import JobState
from runapp import states
from runapp.models import Job, PreparedData, SchedulerLease, Submission, SubmissionFold
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


@pytest.fixture(autouse=True)
def _scheduler() -> None:
    """A scheduler is at work, whatever time passes."""
    SchedulerLease.objects.create(pk=1, holder="scheduler", until=Now() + timedelta(days=1))


@pytest.fixture
def version() -> PreparedData:
    return prepared()


def busy(version: PreparedData, slots: int = 1, queue: str = L, **more: Any) -> None:
    """A live runner all of whose slots run folds of this queue."""
    live(slots=slots, **more)
    for one in folds(version, slots, queue=queue, submission=99):
        running(one)


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
    live(serves=[L, PREPARATION])
    assert why(one) == (
        f"Its data set waits to be prepared (job {task}): "
        f"A slot that serves queue {PREPARATION} is free: it is about to be dispatched."
    )


def test_without_a_scheduler_it_says_so_and_blames_no_runner(version: PreparedData) -> None:
    """Nobody hears of runners then, so that they seem to be gone."""
    one, in_broker = fold(version), fold(version)
    queued(in_broker)
    SchedulerLease.objects.update(until=Now() - timedelta(seconds=1))
    reason = "No scheduler is at work: none runs, or none reaches the broker."
    assert why(one) == why(in_broker) == reason
    live()
    assert why(one) == reason


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
    busy(version, 3)
    live("runner-2", slots=1, serves=[L, H])
    live("runner-3", slots=5, serves=[H])
    running(fold(version), "runner-2")
    assert why(fold(version)) == "All 4 slots that serve queue L are busy."


def test_of_one_slot_it_does_not_speak_in_the_plural(version: PreparedData) -> None:
    busy(version)
    assert why(fold(version)) == "The only slot that serves queue L is busy."


def test_it_says_how_many_slots_other_queues_have(version: PreparedData) -> None:
    busy(version, 2)
    live("runner-2", slots=1, serves=[L, H])
    running(fold(version, queue=H), "runner-2")
    assert why(fold(version)) == (
        "All 3 slots that serve queue L are busy, 1 of them with a job of another queue."
    )
    assert (
        why(fold(version, queue=H))
        == "All 3 slots that serve queue H are busy, 2 of them with jobs of other queues."
    )
    live(slots=0)
    assert why(fold(version)) == "The only slot that serves queue L is busy, with a job of another queue."


def test_while_a_slot_is_free_nobody_says_that_all_are_busy(version: PreparedData) -> None:
    live(slots=3)
    running(fold(version))
    first, second, third = folds(version, 3)
    order = sorted((first, second, third), key=lambda one: position(one) or 0)
    about_to = "A slot that serves queue L is free: it is about to be dispatched."
    assert [why(one) for one in order[:2]] == [about_to] * 2
    assert why(order[2]) == "The jobs before it are about to take the free slots that serve queue L."


def test_what_runs_on_a_runner_that_is_gone_keeps_no_slot_busy(version: PreparedData) -> None:
    busy(version)
    later(seconds=13)
    live("runner-2")
    assert why(fold(version)) == "A slot that serves queue L is free: it is about to be dispatched."


def test_an_order_in_the_broker_waits_for_the_next_slot(version: PreparedData) -> None:
    live()
    first, second = folds(version, 2)
    queued(first)
    assert why(first) == "Its order is in queue L: a free slot is about to take it."
    running(second)
    assert why(first) == (
        "Its order is in queue L, for the next slot that gets free. The only slot that serves queue L is busy."
    )


def test_of_the_orders_in_the_broker_as_many_are_about_to_be_taken_as_slots_are_free(
    version: PreparedData,
) -> None:
    live(slots=2)
    running(fold(version))
    many = folds(version, 2)
    queued(*many)
    first, second = sorted(many, key=lambda one: position(one) or 0)
    assert why(first) == "Its order is in queue L: a free slot is about to take it."
    assert why(second) == "Its order is in queue L: those before it are about to take the free slots."


def test_after_a_loss_it_is_tried_again_after_a_pause(version: PreparedData) -> None:
    one = fold(version)
    live()
    running(one)
    results.record([outcome(one, failure="environment")])
    assert why(one) == "It is tried again in 0:00:02, after attempt 1 (environment)."
    later(minutes=2)
    live()
    assert "tried again" not in why(one)


def test_at_its_owners_cap_it_names_the_cap(version: PreparedData, settings: Settings) -> None:
    settings.MAX_RUNNING_PER_SHARE = 2
    first, second, third = folds(version, 3, owner=user("ada"))
    heavy = fold(version, owner=user("ada"), queue=H)
    other = fold(version, owner=user("grace"))
    live(slots=5)
    running(first)
    assert "Its owner" not in why(third)
    queued(second)
    assert why(third) == why(heavy) == "Its owner has 2 jobs with runners, and may have 2."
    assert "Its owner" not in why(other)


def test_where_shares_are_submissions_the_cap_is_the_submissions(
    version: PreparedData, settings: Settings
) -> None:
    settings.MAX_RUNNING_PER_SHARE = 1
    live(slots=5)
    first, second = folds(version, 2, share="submission 1")
    running(first)
    assert why(second) == "Its submission has 1 jobs with runners, and may have 1."


def test_an_order_that_no_runner_takes_counts_for_no_cap(version: PreparedData, settings: Settings) -> None:
    settings.MAX_RUNNING_PER_SHARE = 1
    live(serves=[L])
    queued(fold(version, queue=H))
    assert why(fold(version)) == "A slot that serves queue L is free: it is about to be dispatched."


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


def test_orders_that_were_dispatched_together_have_positions_of_their_own(version: PreparedData) -> None:
    live()
    many = folds(version, 4)
    queued(*many)
    assert sorted(position(one) or 0 for one in many) == [1, 2, 3, 4]


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
    finished(version, [10, 20, 30])
    finished(version, [5000], queue=H)
    busy(version, 2)
    reason = explained(fold(version))
    assert (reason.position, reason.seconds) == (1, pytest.approx(10))
    assert str(reason) == (
        "All 2 slots that serve queue L are busy. Position 1 in its queue. About 0:00:10 until it starts."
    )


def test_a_free_slot_takes_it_at_once(version: PreparedData) -> None:
    finished(version, [10, 20, 30])
    live(slots=2)
    running(fold(version))
    reason = explained(fold(version))
    assert reason.seconds == 0
    assert str(reason).endswith("Position 1 in its queue. Less than a second until it starts.")


def test_who_is_further_back_waits_for_longer(version: PreparedData) -> None:
    finished(version, [20])
    busy(version, 2)
    seconds = sorted(explained(one).seconds or 0 for one in folds(version, 4))
    assert seconds == [pytest.approx(10), pytest.approx(20), pytest.approx(30), pytest.approx(40)]


def test_the_estimate_counts_what_runs_on_the_slots(version: PreparedData) -> None:
    """A light fold waits for a heavy one, if these have the slots."""
    finished(version, [1])
    finished(version, [1000], queue=H)
    busy(version, 2, queue=H, serves=[L, H])
    assert explained(fold(version)).seconds == pytest.approx(500)


def test_the_estimate_counts_the_turns_of_other_queues(version: PreparedData) -> None:
    """Where slots are shared they go to light and heavy folds in turn."""
    finished(version, [1])
    finished(version, [1000], queue=H)
    busy(version, 2, serves=[L, H])
    many = sorted(folds(version, 3), key=lambda one: position(one) or 0)
    alone = [explained(one).seconds or 0 for one in many]
    folds(version, 2, queue=H)
    longer = [(explained(one).seconds or 0) - before for one, before in zip(many, alone, strict=True)]
    assert longer == [pytest.approx(1000 / 2), pytest.approx(2000 / 2), pytest.approx(2000 / 2)]


def test_other_queues_that_have_slots_of_their_own_delay_nobody(version: PreparedData) -> None:
    finished(version, [1])
    finished(version, [1000], queue=H)
    busy(version, 2, serves=[L])
    live("runner-2", slots=2, serves=[H])
    folds(version, 5, queue=H)
    assert explained(fold(version)).seconds == pytest.approx(0.5)


def test_at_the_cap_the_estimate_is_that_of_its_own_turns(version: PreparedData, settings: Settings) -> None:
    settings.MAX_RUNNING_PER_SHARE = 1
    finished(version, [20])
    live(slots=5)
    running(fold(version, owner=user("ada")))
    first = fold(version, owner=user("ada"))
    later(minutes=1)
    live(slots=5)
    assert explained(first).seconds == pytest.approx(20)
    assert explained(fold(version, owner=user("ada"))).seconds == pytest.approx(40)


def test_during_its_pause_the_estimate_is_no_less_than_that(version: PreparedData) -> None:
    finished(version, [1])
    live(slots=5)
    one = fold(version)
    running(one)
    results.record([outcome(one, failure="environment")])
    assert explained(one).seconds == pytest.approx(2, abs=0.5)


def test_until_its_data_is_prepared_the_estimate_counts_that(version: PreparedData) -> None:
    finished(version, [1])
    Job.objects.filter(pk=version.job_id).update(started_at=Now() - timedelta(seconds=30), finished_at=Now())
    posted = data_set("other")
    one = fold(posted, submission=2)
    task = raw_data.split(user(), posted.pk, 0.2, 42).job_id
    live(slots=2)
    assert explained(one).seconds == pytest.approx(30)
    assert states.queue([task])
    results.record([results.Claim(str(task), 1, RUNNER)])
    assert explained(one).seconds == pytest.approx(30)


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
    reason = "No live runner serves queue L."
    assert answer["waiting"] == {
        "why": reason,
        "position": 1,
        "seconds": None,
        "text": f"{reason} Position 1 in its queue.",
    }
    running(one)
    assert accepted(api.ask(f"submissionfold/{one.pk}/"), 200)["waiting"] is None


def test_a_submission_says_it_for_its_fold_that_is_next(api: Api, version: PreparedData) -> None:
    busy(version, serves=[L])
    first = fold(version)
    later(minutes=1)
    live(serves=[L])
    fold(version, queue=H)
    assert _of_submission(api)["why"] == "The only slot that serves queue L is busy."
    running(first)
    assert _of_submission(api)["why"] == "No live runner serves queue H."
    SubmissionFold.objects.all().delete()
    assert accepted(api.ask("submission/1/waiting/"), 200) == {"waiting": None}
    assert api.ask("submission/7/waiting/").status_code == 404


def test_a_submission_says_it_for_its_order_in_the_broker_first(api: Api, version: PreparedData) -> None:
    live()
    fold(version)
    later(minutes=1)
    live()
    queued(fold(version))
    assert _of_submission(api)["why"] == "Its order is in queue L: a free slot is about to take it."


def _of_submission(api: Api) -> dict[str, Any]:
    said: dict[str, Any] = accepted(api.ask("submission/1/waiting/"), 200)["waiting"]
    return said


@pytest.mark.parametrize("what", ["free", "busy", "nobody", "unsplit", "in the broker"])
def test_api_admin_and_log_say_the_same(api: Api, client: Client, version: PreparedData, what: str) -> None:
    """Reason, position and estimate, of fold and submission."""
    finished(version, [20])
    Submission.objects.all().delete()
    if what in ("free", "in the broker"):
        live()
    elif what == "busy":
        busy(version)
    one = fold(data_set("other") if what == "unsplit" else version)
    if what == "in the broker":
        queued(one)
    client.force_login(User.objects.create_superuser("root"))

    text = str(explained(one))
    said = accepted(api.ask(f"submissionfold/{one.pk}/"), 200)["waiting"]
    assert said["text"] == text
    assert text.startswith(said["why"])
    assert ("Position" in text) == (said["position"] is not None) == (what != "unsplit")
    assert ("until it starts" in text) == (said["seconds"] is not None)
    assert _of_submission(api) == said
    pages = ((SubmissionFold, one.pk), (Submission, 1), (Job, one.job_id))
    for model, key in pages:
        page = client.get(reverse(f"admin:runapp_{model._meta.model_name}_change", args=[key]))
        assert escape(text) in page.content.decode(), model
    (sentence,) = waiting.summary()
    assert re.match(r"Waiting (in queue L|for queue L|for data): 1\. ", sentence)
    assert sentence.endswith(f"The first: {text}")


def test_the_log_counts_who_waits(version: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FAR", 4)
    posted = data_set("other")
    folds(version, 2)
    queued(fold(version, queue=H))
    folds(posted, 4, submission=2)
    begin = [sentence.partition(".")[0] for sentence in waiting.summary()]
    assert begin == ["Waiting for queue L: 2", "Waiting in queue H: 1", "Waiting for data: 4 or more"]
