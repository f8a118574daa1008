"""Every route wants to know who asks: by Basic, session or token; who lost the right is refused at once."""

import base64
import re
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings
from rest_framework.authtoken.models import Token

from runapp.api.urls import urlpatterns
from runapp.services import roles
from runapp.services.roles import Role
from tests.integration.helpers import Api, organiser

pytestmark = pytest.mark.django_db

PASSWORD = "a long and good password"
#: Every method of every route: ("get", "rawdata/"), …
ROUTES = [
    (method, re.sub(r"<[\w:]+>", "1", str(route.pattern)))
    for route in urlpatterns
    for method in ("get", "post")
    if hasattr(getattr(route.callback, "view_class", None), method)
]
every_route = pytest.mark.parametrize(("method", "route"), ROUTES, ids=[" ".join(route) for route in ROUTES])


@pytest.fixture(autouse=True)
def _quick_hashes(settings: Settings) -> None:
    """Passwords are checked for real, with a hash that doesn't take its time."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def user() -> User:
    return new_user("ada", PASSWORD)


def new_user(name: str, password: str | None = None) -> User:
    user = User.objects.create_user(name, f"{name}@example.org", password)
    roles.give(user, Role.ORGANISER)
    return user


def basic(name: str, password: str) -> Api:
    return raw_basic(f"{name}:{password}".encode())


def raw_basic(credentials: bytes) -> Api:
    api = Api()
    api.credentials(HTTP_AUTHORIZATION="Basic " + base64.b64encode(credentials).decode())
    return api


def status(api: Api, method: str = "get", route: str = "rawdata/") -> int:
    if method == "get":
        return int(api.ask(route).status_code)
    return int(api.send(route, {}).status_code)


@every_route
def test_nobody_gets_in_without_credentials(method: str, route: str) -> None:
    answer = Api().generic(method.upper(), f"/runapp/{route}", "{}", content_type="application/json")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")  # so that a client knows what to send
    assert answer.json() == {"detail": "Authentication credentials were not provided."}


@every_route
def test_a_body_is_not_even_looked_at_without_credentials(method: str, route: str) -> None:
    answer = Api().generic(method.upper(), f"/runapp/{route}", "{{{ no JSON", content_type="application/json")
    assert answer.status_code == 401


@every_route
def test_basic_session_and_token_open_every_route(method: str, route: str, user: User) -> None:
    session = Api()
    assert session.login(username="ada", password=PASSWORD)
    token = Api()
    token.credentials(HTTP_AUTHORIZATION=f"Token {Token.objects.create(user=user).key}")
    answers = [status(api, method, route) for api in (basic("ada", PASSWORD), session, token)]
    assert len(set(answers)) == 1
    assert answers[0] in {200, 400, 404}  # what the route itself says to an empty request


@every_route
@pytest.mark.parametrize(
    "header",
    [
        "Basic " + base64.b64encode(b"ada:wrong").decode(),
        "Basic " + base64.b64encode(b"nobody:wrong").decode(),
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic not-base64!",
        "Basic",
        "Basic a b",
        "Token 0123456789abcdef0123456789abcdef01234567",
        "Token",
        "Token a b",
        "Bearer development",
    ],
)
def test_wrong_credentials_open_nothing(method: str, route: str, header: str, user: User) -> None:
    api = Api()
    api.credentials(HTTP_AUTHORIZATION=header)
    assert status(api, method, route) == 401


@pytest.mark.parametrize(
    "credentials",
    [b"ada\0:x", b"\0:", b"ada:\0", b"\xff\xfe:\xff", "ädä:ö".encode(), b":", b"ada" * 999 + b":"],
)
def test_strange_names_and_passwords_are_refused_like_wrong_ones(credentials: bytes, user: User) -> None:
    assert status(raw_basic(credentials)) == 401


def test_a_password_may_have_any_characters() -> None:
    new_user("grace", "col:on ünïcode \U0001f511")
    assert status(basic("grace", "col:on ünïcode \U0001f511")) == 200
    assert status(basic("grace", "col")) == 401


def test_a_changed_password_is_refused_at_once(user: User) -> None:
    api = basic("ada", PASSWORD)
    assert [status(api), status(api)] == [200, 200]  # the second one is remembered
    user.set_password("another good password")
    user.save()
    assert status(api) == 401
    assert status(basic("ada", "another good password")) == 200
    assert status(api) == 401


def test_an_old_password_set_again_is_right_again(user: User) -> None:
    api = basic("ada", PASSWORD)
    assert status(api) == 200
    for password, expected in (("another good password", 401), (PASSWORD, 200)):
        user.set_password(password)
        user.save()
        assert status(api) == expected


def test_checking_a_password_again_costs_no_slow_hash(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    api = basic("ada", PASSWORD)
    assert status(api) == 200

    def unexpected(*args: object, **kwargs: object) -> None:
        pytest.fail("the password was hashed again")

    monkeypatch.setattr("django.contrib.auth.backends.ModelBackend.authenticate", unexpected)
    assert status(api) == 200


def test_what_is_remembered_for_one_user_says_nothing_of_another(user: User) -> None:
    new_user("grace", "hers")
    assert status(basic("ada", PASSWORD)) == 200
    assert status(basic("grace", PASSWORD)) == 401
    assert status(basic("ada", "hers")) == 401


def test_a_renamed_or_deleted_user_is_refused_at_once(user: User) -> None:
    assert status(basic("ada", PASSWORD)) == 200
    User.objects.filter(pk=user.pk).update(username="lovelace")
    assert status(basic("ada", PASSWORD)) == 401
    assert status(basic("lovelace", PASSWORD)) == 200
    user.delete()
    assert status(basic("lovelace", PASSWORD)) == 401


def test_an_inactive_user_is_refused_at_once_however_they_ask(user: User) -> None:
    by_password, by_token, by_session = basic("ada", PASSWORD), organiser("ada"), Api()
    assert by_session.login(username="ada", password=PASSWORD)
    everyone = (by_password, by_token, by_session)
    assert [status(api) for api in everyone] == [200, 200, 200]
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert [status(api) for api in everyone] == [401, 401, 401]


def test_a_user_without_a_password_has_none_that_fits() -> None:
    new_user("robot")
    assert [status(basic("robot", password)) for password in ("", "!", "None")] == [401, 401, 401]


def test_the_command_line_makes_a_token_that_opens_the_api(user: User) -> None:
    said = StringIO()
    call_command("drf_create_token", "ada", stdout=said)
    key = next(word for word in said.getvalue().split() if len(word) == 40)
    api = Api()
    api.credentials(HTTP_AUTHORIZATION=f"Token {key}")
    assert status(api) == 200
    call_command("drf_create_token", "ada", "--reset", stdout=said)
    assert status(api) == 401


def test_the_command_line_makes_an_organiser_who_may_post_but_not_manage() -> None:
    call_command("createuser", "eve", "eve@example.org", PASSWORD, stdout=StringIO())
    eve = User.objects.get(username="eve")
    assert (eve.is_staff, eve.is_superuser, eve.email) == (False, False, "eve@example.org")
    assert [group.name for group in eve.groups.all()] == ["organisers"]
    assert status(basic("eve", PASSWORD)) == 200
    assert status(basic("eve", PASSWORD), "post") == 400  # the body is looked at


def test_a_session_posts_only_with_its_csrf_token(user: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    assert browser.login(username="ada", password=PASSWORD)
    assert browser.get("/runapp/rawdata/").status_code == 200
    answer = browser.post("/runapp/testpredictions/new/", "{}", content_type="application/json")
    assert answer.status_code == 403
    token = "a" * 32
    browser.cookies["csrftoken"] = token
    answer = browser.post(
        "/runapp/testpredictions/new/", "{}", content_type="application/json", headers={"X-CSRFToken": token}
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("PUT", "rawdata/"),
        ("DELETE", "rawdata/"),
        ("GET", "rawdata/split/"),
        ("GET", "rawdata/customsplit/"),
        ("DELETE", "submissionfold/1/"),
        ("POST", "submissionfold-light/"),
        ("GET", "testpredictions/list/"),
        ("GET", "testpredictions/new/"),
    ],
)
def test_routes_know_their_methods(method: str, route: str) -> None:
    assert organiser().generic(method, f"/runapp/{route}").status_code == 405
