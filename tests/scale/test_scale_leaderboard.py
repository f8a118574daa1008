"""The leaderboard of 10,000 submissions with ten folds each, beside those of other data sets, is read by indexes."""

import re
from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import DjangoDbBlocker

from benchmarks import database
from runapp.models import Part, RawData
from runapp.services import leaderboard
from tests.scale.test_scale import Plans

SUBMISSIONS, FOLDS = 10_000, 10

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def _filled(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        database.fill_scores(SUBMISSIONS, FOLDS)
        yield
        call_command("flush", interactive=False, verbosity=0)


@pytest.mark.parametrize("offset", [0, SUBMISSIONS // 2])
def test_a_page(_filled: None, offset: int) -> None:
    data_set = RawData.objects.get(name="large")
    plans = Plans()
    with connection.execute_wrapper(plans):
        board = leaderboard.read(data_set, leaderboard.Wanted(list(Part), 100, offset))
    assert len(board["submissions"]) == 100
    assert board["count"] == SUBMISSIONS
    assert board["submissions"][0]["rank"] == offset + 1
    big = r"Seq Scan on runapp_(score|submissionscore|submissionfold|job|prediction)\b"
    reading = [plan for plan in plans.plans if re.search(big, plan)]
    assert not reading, "\n\n".join(reading)
    assert len(plans.plans) < 20
