"""Runners by the API and the admin page: who they are, whether they live, and what they run now."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from datarun.contract import queues
from runapp import states
from runapp.models import Job, PreparedData
from runapp.services import raw_data, results
from tests.integration.helpers import Api, accepted, organiser
from tests.integration.jobs import data_set, fold, folds, later, live, outcome, prepared, running, user

pytestmark = pytest.mark.django_db

L, H, PREPARATION = queues.LIGHT, queues.HEAVY, queues.PREPARATION


@pytest.fixture
def api() -> Api:
    return organiser()


@pytest.fixture
def version() -> PreparedData:
    return prepared()


def listed(api: Api, **query: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = accepted(api.ask("runners/", **query), 200)  # type: ignore[assignment]
    return rows


def states_of(api: Api) -> dict[str, str]:
    return {row["name"]: row["state"] for row in listed(api)}


def test_it_shows_what_a_runner_says_of_itself(api: Api) -> None:
    live("runner-1", slots=4, serves=[L, H], environments={"old": {"numpy": "1.26.4"}})
    (row,) = listed(api)
    assert row.pop("last_seen") is not None
    assert row == {
        "name": "runner-1",
        "state": "live",
        "queues": [L, H],
        "slots": 4,
        "runs": [],
        "versions": {"numpy": "2.0"},
        "environments": {"old": {"numpy": "1.26.4"}},
        "unprotected": [],
    }


def test_a_runner_that_trusts_submissions_says_what_is_missing(api: Api) -> None:
    live("runner-1", unprotected=("files", "network"))
    (row,) = listed(api)
    assert row["unprotected"] == ["files", "network"]


def test_without_runners_the_list_is_empty(api: Api) -> None:
    assert listed(api) == []


def test_states_are_live_draining_gone_and_incompatible(api: Api) -> None:
    live("gone")
    live("was draining", leaving=True)
    results.note_incompatible("was incompatible", "0")
    later(seconds=13)
    live("live")
    live("draining", leaving=True)
    results.note_incompatible("incompatible", "0")
    assert states_of(api) == {
        "draining": "draining",
        "gone": "gone",
        "incompatible": "incompatible: upgrade it",
        "live": "live",
        "was draining": "gone",
        "was incompatible": "gone",
    }
    live("gone")
    assert states_of(api)["gone"] == "live"


def test_what_it_runs_now_is_named(api: Api, version: PreparedData) -> None:
    one, elsewhere, ended = folds(version, 3, submission=7)
    running(one, "runner-1")
    running(ended, "runner-1")
    running(elsewhere, "runner-2")
    results.record([outcome(ended, "runner-1")])
    task = raw_data.split(user(), data_set("other").pk, 0.2, 42).job_id
    assert states.queue([task])
    results.record([results.Claim(str(task), 1, "runner-1")])
    for name in ("runner-1", "runner-2", "runner-3"):
        live(name, slots=2)
    first, second, third = listed(api)
    assert first["runs"] == [
        {"task_id": str(one.job_id), "databoard_sf_id": one.pk, "databoard_s": 7},
        {"task_id": str(task), "databoard_sf_id": None, "databoard_s": None},
    ]
    assert [job["databoard_sf_id"] for job in second["runs"]] == [elsewhere.pk]
    assert third["runs"] == []


def test_the_list_takes_limit_and_offset(api: Api) -> None:
    for number in range(5):
        live(f"runner-{number}")
    assert [row["name"] for row in listed(api, limit=2, offset=1)] == ["runner-1", "runner-2"]
    assert api.ask("runners/", limit=0).status_code == 400


def test_who_shows_no_credentials_sees_nothing() -> None:
    assert Api().ask("runners/").status_code == 401


def test_it_is_read_only(api: Api) -> None:
    assert api.send("runners/", {}).status_code == 405


def test_more_runners_cost_no_more_queries(
    api: Api, version: PreparedData, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20):
        live(f"runner-{number}")
        running(fold(version), f"runner-{number}")
    with django_assert_max_num_queries(3):
        assert len(listed(api)) == 20


def test_the_admin_page_says_the_same(version: PreparedData, client: Client) -> None:
    live("runner-1", slots=2, serves=[L, PREPARATION])
    one = fold(version, submission=7)
    running(one, "runner-1")
    live("runner-2", leaving=True)
    client.force_login(User.objects.create_superuser("root"))
    page = client.get(reverse("admin:runapp_runner_changelist")).content.decode()
    for text in ("runner-1", "live", "draining", "L, celery", "numpy 2.0"):
        assert f">{text}<" in page
    change = client.get(reverse("admin:runapp_runner_change", args=["runner-1"])).content.decode()
    assert f"fold {one.pk} of submission 7" in change


def test_a_running_fold_whose_runner_is_gone_shows_there_until_it_is_given_up(
    api: Api, version: PreparedData
) -> None:
    running(fold(version), "runner-1")
    live("runner-1")
    later(seconds=13)
    (row,) = listed(api)
    assert (row["state"], len(row["runs"])) == ("gone", 1)
    job = Job.objects.get(deadline__lt=Now())
    assert results.lose({job: "It fell silent."})
    (row,) = listed(api)
    assert row["runs"] == []
