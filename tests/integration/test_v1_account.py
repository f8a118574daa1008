"""Tokens of `/api/v1/`, who one is, and what every answer has."""

import base64
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from runapp.models import AccessToken
from runapp.services import tokens
from tests.integration.v1 import PASSWORD, V1, problem, user

pytestmark = pytest.mark.django_db


def basic(name: str, password: str = PASSWORD) -> V1:
    api = V1()
    api.credentials(HTTP_AUTHORIZATION="Basic " + base64.b64encode(f"{name}:{password}".encode()).decode())
    return api


def with_token(text: str) -> V1:
    api = V1()
    api.credentials(HTTP_AUTHORIZATION=f"Token {text}")
    return api


def make(api: V1, **body: object) -> dict[str, Any]:
    answer = api.send("tokens/", {"name": "laptop"} | body)
    assert answer.status_code == 201, answer.content
    return dict(answer.json())


def test_everybody_may_know_what_this_is() -> None:
    answer = V1().ask("")
    assert answer.status_code == 200
    assert answer.json() == {"name": "datarun", "version": answer.headers["Datarun-Version"], "api": 1}


def test_a_password_makes_a_token_that_opens_the_api() -> None:
    user("ada")
    made = make(basic("ada"))
    assert set(made) == {"id", "name", "token", "created_at", "expires_at"}
    me = with_token(made["token"]).ask("users/me/").json()
    assert me == {"username": "ada", "email": "ada@example.org", "roles": ["participant"]}


def test_the_password_alone_opens_nothing_else() -> None:
    user("ada")
    problem(basic("ada").ask("users/me/"), 401)
    problem(basic("ada").ask("tokens/"), 401)


def test_only_a_hash_of_it_is_kept_and_it_is_shown_once() -> None:
    user("ada")
    made = make(basic("ada"))
    assert made["token"] not in str(AccessToken.objects.values())
    listed = with_token(made["token"]).ask("tokens/").json()["results"]
    assert [set(each) for each in listed] == 2 * [{"id", "name", "created_at", "expires_at"}]


def test_a_revoked_token_opens_nothing() -> None:
    user("ada")
    one, other = make(basic("ada")), make(basic("ada"), name="desktop")
    api = with_token(one["token"])
    assert api.delete(f"/api/v1/tokens/{other['id']}/").status_code == 204
    said = problem(with_token(other["token"]).ask("users/me/"), 401)
    assert "revoked" in said["detail"]
    assert api.ask("users/me/").status_code == 200


def test_an_expired_token_says_so() -> None:
    user("ada")
    made = make(basic("ada"), expires_in_days=1)
    AccessToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    said = problem(with_token(made["token"]).ask("users/me/"), 401)
    assert "'laptop' expired" in said["detail"]


def test_it_lives_as_long_as_asked_for() -> None:
    user("ada")
    make(basic("ada"), expires_in_days=7)
    row = AccessToken.objects.get(name="laptop")
    assert row.expires_at - row.created_at == pytest.approx(timedelta(days=7), abs=timedelta(minutes=1))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": 1}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "x", "expires_in_days": 0}, "expires_in_days"),
        ({"name": "x", "expires_in_days": 10**9}, "expires_in_days"),
    ],
)
def test_what_can_not_be_a_token_is_refused_by_field(body: object, field: str) -> None:
    user("ada")
    said = problem(basic("ada").send("tokens/", body), 400)
    assert [error["field"] for error in said["errors"]] == [field]


@pytest.mark.parametrize(
    "header",
    ["Token", "Token a b", "Token x", "Token ÿþ", "Token a\0b", "Bearer x", "Basic x", "nothing"],
)
def test_strange_credentials_are_refused(header: str) -> None:
    api = V1()
    api.credentials(HTTP_AUTHORIZATION=header)
    problem(api.ask("users/me/"), 401)


def test_old_tokens_are_for_runapp_only() -> None:
    from tests.integration.helpers import organiser

    old = organiser("ada")
    assert old.get("/runapp/rawdata/").status_code == 200
    assert old.get("/api/v1/users/me/").status_code == 401


def test_new_tokens_open_runapp_to_organisers_only() -> None:
    for name, status in (("organiser", 200), ("participant", 403), ("operator", 403), ("admin", 200)):
        call_command("createuser", name, "x@example.org", PASSWORD, "--role", name, stdout=StringIO())
        text = tokens.create(User.objects.get(username=name), "x", 1).text
        answer: Any = with_token(text).get("/runapp/rawdata/")
        assert answer.status_code == status
        assert with_token(text).ask("users/me/").json()["roles"] == (
            ["admin", "participant"] if name == "admin" else [name]
        )
        if status == 403:
            assert set(answer.json()) == {"detail"}  # its format is that of /runapp/


def test_who_guesses_passwords_is_slowed_down(settings: Settings) -> None:
    settings.FAILED_LOGINS_A_MINUTE = 2
    user("ada")
    user("grace")
    for _ in range(2):
        problem(basic("ada", "wrong").send("tokens/", {"name": "x"}), 401)
    answer = basic("ada").send("tokens/", {"name": "x"})
    problem(answer, 429)
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert basic("ada").get("/runapp/rawdata/").status_code == 429
    make(basic("grace"))


# --- what every answer has -----------------------------------------------------------------------------


def test_an_unknown_route_is_a_problem_like_any_other(settings: Settings) -> None:
    for debug in (False, True):
        settings.DEBUG = debug
        problem(V1().ask("nothing/"), 404)


def test_a_missing_slash_costs_a_redirect_that_keeps_the_method() -> None:
    answer: Any = V1().post("/api/v1/tokens")
    assert (answer.status_code, answer.headers["Location"]) == (308, "/api/v1/tokens/")


def test_a_crash_is_a_problem_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runapp.api.v1.account.__version__", object())
    answer: Any = APIClient(raise_request_exception=False).get("/api/v1/")
    assert problem(answer, 500)["detail"].startswith("datarun failed")


def test_a_route_knows_its_methods() -> None:
    said = problem(user("ada").put("/api/v1/tokens/"), 405)
    assert said["type"] == "/problems/method-not-allowed"


def test_what_has_not_changed_is_not_sent_again() -> None:
    api = user("ada")
    first = api.ask("users/me/")
    again = api.get("/api/v1/users/me/", HTTP_IF_NONE_MATCH=first.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    User.objects.update(email="new@example.org")
    assert api.get("/api/v1/users/me/", HTTP_IF_NONE_MATCH=first.headers["ETag"]).status_code == 200


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"cursor": "x"}, "cursor"),
    ],
)
def test_pages_say_what_is_wrong_with_them(query: dict[str, str], field: str) -> None:
    said = problem(user("ada").ask("tokens/", **query), 400)
    assert [error["field"] for error in said["errors"]] == [field]


def test_a_list_comes_in_pages_that_lead_through_all_of_it() -> None:
    api = user("ada")
    for number in range(4):
        tokens.create(User.objects.get(), str(number), 1)
    page = api.ask("tokens/", limit=2).json()
    names = []
    while True:
        names += [each["name"] for each in page["results"]]
        if page["next"] is None:
            break
        page = api.get(page["next"]).json()
    assert names == ["test", "0", "1", "2", "3"]
    assert api.get(page["previous"]).status_code == 200
