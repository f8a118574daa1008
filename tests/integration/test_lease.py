"""The schedulers' lease: one at a time holds it, and another takes it over when its holder falls silent."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from runapp.models import SchedulerLease
from runapp.services import lease
from tests.integration.helpers import at_once
from tests.integration.jobs import later, while_uncommitted

pytestmark = pytest.mark.django_db


def test_the_first_to_come_holds_it_for_as_long_as_it_renews() -> None:
    assert lease.hold("first")
    assert not lease.hold("second")
    for _ in range(5):
        later(seconds=6)
        assert lease.hold("first")
        assert not lease.hold("second")


def test_another_takes_it_over_once_its_holder_has_fallen_silent() -> None:
    assert lease.hold("first")
    later(seconds=7)
    assert not lease.hold("second")
    later(seconds=2)
    assert lease.hold("second")
    assert not lease.hold("first"), "it wakes, and has to wait"
    assert not lease.hold("third")


def test_a_holder_that_is_late_keeps_it_if_nobody_else_came() -> None:
    assert lease.hold("first")
    later(minutes=1)
    assert lease.hold("first")


def test_a_stand_by_takes_over_within_fifteen_seconds() -> None:
    """A scheduler asks four times in the length of a lease."""
    assert timedelta(seconds=15) > lease.LENGTH * 5 / 4


def test_who_stops_gives_it_up_at_once() -> None:
    assert lease.hold("first")
    lease.release("first")
    assert lease.hold("second")


def test_nobody_gives_up_the_lease_of_another() -> None:
    lease.release("first")
    assert lease.hold("first")
    lease.release("second")
    assert not lease.hold("second")


def test_a_lease_ends_by_the_clock_of_the_database() -> None:
    lease.hold("first")
    ends = SchedulerLease.objects.filter(until__gt=Now() + lease.LENGTH - timedelta(seconds=1))
    assert ends.filter(until__lte=Now() + lease.LENGTH).exists()


@pytest.mark.django_db(transaction=True)
def test_of_many_who_come_at_once_one_gets_it() -> None:
    names = [f"scheduler {number}" for number in range(6)]
    assert sum(at_once(*(lambda name=name: lease.hold(name) for name in names))) == 1  # type: ignore[misc]


@pytest.mark.django_db(transaction=True)
def test_of_two_who_take_over_at_once_one_gets_it() -> None:
    lease.hold("first")
    later(minutes=1)
    held: list[str] = []

    def take(name: str) -> None:
        if lease.hold(name):
            held.append(name)

    while_uncommitted(lambda: take("second"), lambda: take("third"))
    assert held == ["second"]
