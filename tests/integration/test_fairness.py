"""Fair shares: within a queue, slots go round those who have work waiting; queues never block one another."""

import uuid
from collections import Counter
from collections.abc import Iterator
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from datarun.contract import queues
from datarun.contract.states import JobState
from runapp import states
from runapp.models import Job, PreparedData, SubmissionFold
from runapp.services import jobs, results, submissions
from runapp.services.fairness import Turns
from tests.integration.helpers import fold_body
from tests.integration.jobs import (
    fold,
    folds,
    later,
    live,
    outcome,
    prepared,
    queued,
    running,
    state_of,
    user,
)

pytestmark = pytest.mark.django_db

L, H = queues.LIGHT, queues.HEAVY


@pytest.fixture
def version() -> PreparedData:
    return prepared()


def owners(ids: list[UUID]) -> list[str]:
    """Whose jobs these are, in their order."""
    names = dict(Job.objects.filter(pk__in=ids).values_list("pk", "owner__username"))
    return [names[id] for id in ids]


def dispatched(turns: Turns, room: int, queue: str = L) -> list[str]:
    """Takes the jobs whose turn it is to the broker; returns whose they are."""
    ids = turns.next(queue, room)
    assert states.queue(ids) == set(ids)
    return owners(ids)


def post(version: PreparedData, **counts: int) -> None:
    """Each user posts so many folds."""
    for number, (name, count) in enumerate(counts.items()):
        folds(version, count, owner=user(name), submission=1000 + number)


# --- turns ---------------------------------------------------------------------------------------------


def test_a_thousand_folds_of_one_delay_the_single_fold_of_another_by_one_round(version: PreparedData) -> None:
    turns = Turns()
    post(version, ada=1000)
    assert dispatched(turns, 5) == ["ada"] * 5
    post(version, grace=1)
    assert "grace" in dispatched(turns, 1) + dispatched(turns, 1)


def test_one_fold_of_each_in_turn(version: PreparedData) -> None:
    post(version, ada=10, grace=10, mary=10)
    order = dispatched(Turns(), 9)
    assert [set(order[start : start + 3]) for start in (0, 3, 6)] == [{"ada", "grace", "mary"}] * 3


def test_turns_are_kept_across_rounds(version: PreparedData) -> None:
    post(version, ada=10, grace=10, mary=10)
    turns = Turns()
    order = [name for room in (1, 1, 2, 1, 4) for name in dispatched(turns, room)]
    assert Counter(order) == {"ada": 3, "grace": 3, "mary": 3}
    assert [set(order[start : start + 3]) for start in (0, 3, 6)] == [{"ada", "grace", "mary"}] * 3


def test_who_has_run_out_of_work_leaves_the_turns_to_the_others(version: PreparedData) -> None:
    post(version, ada=5, grace=1)
    turns = Turns()
    order = [name for _ in range(6) for name in dispatched(turns, 1)]
    assert Counter(order) == {"ada": 5, "grace": 1}
    assert dispatched(turns, 1) == []


def test_the_oldest_fold_of_a_share_is_first(version: PreparedData) -> None:
    many = folds(version, 5, owner=user())
    later(hours=1)
    newer = folds(version, 5, owner=user())
    turns = Turns()
    first = [turns.next(L, 3), turns.next(L, 3)]
    assert [set(ids) <= {one.job_id for one in many} for ids in first] == [True, True]
    queued(*many)
    assert set(turns.next(L, 100)) == {one.job_id for one in newer}


@pytest.mark.parametrize("room", [0, -1])
def test_without_room_it_is_nobodys_turn(version: PreparedData, room: int) -> None:
    post(version, ada=1)
    assert Turns().next(L, room) == []


def test_what_can_t_start_has_no_turn(version: PreparedData) -> None:
    ready, unprepared, retried, in_broker = folds(version, 4)
    Job.objects.filter(pk=unprepared.job_id).update(waits_for_data=True)
    running(retried)
    results.record([outcome(retried, failure="environment")])
    queued(in_broker)
    assert Turns().next(L, 10) == [ready.job_id]
    later(minutes=2)
    assert set(Turns().next(L, 10)) == {ready.job_id, retried.job_id}


# --- queues --------------------------------------------------------------------------------------------


def test_light_and_heavy_take_turns_of_their_own(version: PreparedData) -> None:
    heavy = folds(version, 3, owner=user("ada"), queue=H)
    post(version, ada=3, grace=3)
    turns = Turns()
    first = dispatched(turns, 1)
    assert set(turns.next(H, 10)) == {one.job_id for one in heavy}
    assert first + dispatched(turns, 1) in (["ada", "grace"], ["grace", "ada"])


# --- the cap -------------------------------------------------------------------------------------------


@pytest.fixture
def capped(settings: Settings) -> Iterator[None]:
    settings.MAX_RUNNING_PER_SHARE = 2
    yield


@pytest.mark.usefixtures("capped")
def test_nobody_has_more_in_flight_than_the_cap(version: PreparedData) -> None:
    post(version, ada=10)
    live()
    turns = Turns()
    assert dispatched(turns, 10) == ["ada"] * 2
    assert dispatched(turns, 10) == []
    ended = SubmissionFold.objects.filter(job__state=JobState.QUEUED)[0]
    jobs.cancel(SubmissionFold.objects.filter(pk=ended.pk))
    assert dispatched(turns, 10) == ["ada"]


@pytest.mark.usefixtures("capped")
def test_the_cap_counts_what_runs_and_what_is_in_the_broker(version: PreparedData) -> None:
    running(fold(version, owner=user("ada")))
    post(version, ada=10)
    assert dispatched(Turns(), 10) == ["ada"]


@pytest.mark.usefixtures("capped")
def test_the_cap_is_one_over_all_queues(version: PreparedData) -> None:
    live()
    running(fold(version, owner=user("ada"), queue=H))
    post(version, ada=10)
    turns = Turns()
    assert dispatched(turns, 10) == ["ada"]
    assert dispatched(turns, 10, H) == []


@pytest.mark.usefixtures("capped")
def test_orders_that_no_live_runner_takes_count_for_no_cap(version: PreparedData) -> None:
    """Heavy folds never block light ones."""
    live(serves=[L])
    queued(*folds(version, 2, owner=user("ada"), queue=H))
    post(version, ada=10)
    assert dispatched(Turns(), 10) == ["ada"] * 2


@pytest.mark.usefixtures("capped")
def test_at_the_cap_the_queues_of_a_share_take_turns(version: PreparedData) -> None:
    """Whoever has light folds for days gets the heavy ones done too."""
    live()
    heavy = folds(version, 5, owner=user("ada"), queue=H)
    post(version, ada=20)
    turns, order = Turns(), []
    for _ in range(6):
        for queue in turns.in_turn():
            order += [queue] * len(dispatched(turns, 10, queue))
        first = SubmissionFold.objects.filter(job__state=JobState.QUEUED).order_by("job__queued_at").first()
        assert first is not None
        jobs.cancel(SubmissionFold.objects.filter(pk=first.pk))
    assert order == [L, L, H, L, H, L, H]
    assert len(heavy) == 5


@pytest.mark.usefixtures("capped")
def test_who_is_at_the_cap_holds_up_nobody(version: PreparedData) -> None:
    """However little room there is: one free slot goes to the next who may use it."""
    live()
    post(version, ada=10, grace=10, mary=10)
    turns = Turns()
    order = [name for _ in range(7) for name in dispatched(turns, 1)]
    assert Counter(order) == {"ada": 2, "grace": 2, "mary": 2}


# --- who shares ----------------------------------------------------------------------------------------


def _posted(owner: User, version: PreparedData, fold: int, submission: int) -> Job:
    body = fold_body(version.raw_data_id, fold, submission, priority=L, force="")
    return submissions.post_fold(owner, submissions.PostedFold(**body)).job


def test_a_share_is_a_user(version: PreparedData) -> None:
    first = _posted(user("ada"), version, 1, 1)
    assert first.share == _posted(user("ada"), version, 2, 2).share
    assert first.share != _posted(user("grace"), version, 3, 3).share


def test_where_one_account_posts_for_all_a_share_is_a_submission(
    version: PreparedData, settings: Settings
) -> None:
    settings.SHARE = "submission"
    site = user("site")
    for number in range(10):
        _posted(site, version, 10 + number, 1)
    single = _posted(site, version, 100, 2)
    assert single.pk in Turns().next(L, 2)
    assert Turns().next(L, 2) != [single.pk]


def test_a_fold_keeps_its_share_when_it_runs_again(version: PreparedData) -> None:
    one = fold(version, owner=user("ada"))
    running(one)
    results.record([outcome(one)])
    jobs.rerun(SubmissionFold.objects.all())
    assert state_of(one) == JobState.CREATED
    assert dispatched(Turns(), 1) == ["ada"]


def test_a_fold_that_is_run_again_goes_behind_the_others_of_its_share(version: PreparedData) -> None:
    one = fold(version, owner=user("ada"))
    running(one)
    results.record([outcome(one)])
    other = fold(version, owner=user("ada"))
    later(minutes=1)
    jobs.rerun(SubmissionFold.objects.filter(pk=one.pk))
    assert Turns().next(L, 2) == [other.job_id, one.job_id]


def test_many_shares_with_work_are_all_served(version: PreparedData) -> None:
    for number in range(30):
        fold(version, share=f"user {number}", id=uuid.uuid4())
    turns = Turns()
    served = [id for _ in range(10) for id in turns.next(L, 3) if states.queue([id])]
    assert len(set(served)) == 30
