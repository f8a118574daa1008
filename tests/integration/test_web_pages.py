"""The pages: who sees what on them, that what others wrote is no markup, and when a page loads itself again."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from runapp.models import Submission
from runapp.services import roles
from runapp.services.roles import Role
from tests.integration.helpers import Api, accepted, fail, folds_of, organiser, ready_scored, score, submit
from tests.integration.test_ensembles import all_scored, bagged, bagging, taken
from tests.integration.v1 import PASSWORD

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert('&')</script>"
RELOADS = '<meta http-equiv="refresh"'


@pytest.fixture
def api() -> Api:
    return organiser()


@pytest.fixture
def raw_data(api: Api) -> int:
    return ready_scored(api)


def browser(name: str, role: Role = Role.PARTICIPANT) -> Client:
    user, _ = User.objects.get_or_create(username=name)
    roles.give(user, role)
    client = Client()
    client.force_login(user)
    return client


def owned(submission: int, by: str) -> int:
    Submission.objects.filter(pk=submission).update(owner=User.objects.get_or_create(username=by)[0])
    return submission


def page(client: Client, path: str, status: int = 200) -> str:
    answer: Any = client.get(path)
    assert answer.status_code == status, answer.content
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    return str(answer.content.decode())


def test_whoever_is_not_logged_in_logs_in_and_comes_back(raw_data: int) -> None:
    User.objects.create_user("ada", password=PASSWORD)
    client, path = Client(), f"/datasets/{raw_data}/"
    there: Any = client.get(path)
    assert there.headers["Location"] == f"/login/?next={path}"
    assert 'name="password"' in client.get(there.headers["Location"]).content.decode()
    back: Any = client.post(there.headers["Location"], {"username": "ada", "password": PASSWORD})
    assert back.headers["Location"] == path
    assert "ada" in page(client, path)
    client.post("/logout/")
    assert client.get(path).status_code == 302


def test_no_one_is_led_to_another_site() -> None:
    User.objects.create_user("ada", password=PASSWORD)
    answer: Any = Client().post(
        "/login/?next=https://example.org/", {"username": "ada", "password": PASSWORD}
    )
    assert answer.headers["Location"] == "/"


def test_wrong_passwords_are_counted(settings: Settings) -> None:
    settings.FAILED_LOGINS_A_MINUTE = 2
    User.objects.create_user("ada", password=PASSWORD)
    wrong, right = ({"username": "ada", "password": word} for word in ("wrong", PASSWORD))
    assert [Client().post("/login/", wrong).status_code for _ in range(3)] == [200, 200, 429]
    refused: Any = Client().post("/login/", right)
    assert refused.status_code == 429
    assert "try again in" in refused.content.decode()


def test_the_front_page_lists_the_data_sets(api: Api, raw_data: int) -> None:
    submit(api, raw_data)
    shown = page(browser("ada"), "/")
    for said in (f'href="/datasets/{raw_data}/"', "flowers", "ready", "accuracy, neg_log_loss", ">1\n"):
        assert said in shown


def test_a_leaderboard_ranks_and_says_at_its_end_why_others_have_no_rank(api: Api, raw_data: int) -> None:
    for name, valid in (("worse", 0.5), ("better", 0.9)):
        all_scored(owned(submit(api, raw_data, name), "ada"), valid)
    broken = owned(submit(api, raw_data, "broken"), "ada")
    fail(str(folds_of(broken)[0].job_id), "train", "KeyError: 'secret'")
    shown = page(browser("ada"), f"/datasets/{raw_data}/")
    assert ">better<" in page(browser("ada"), "/datasets/flowers/")  # by its name, too
    assert shown.index(">better<") < shown.index(">worse<") < shown.index(">broken<") < shown.index("secret")
    assert "0.9000 ± 0.0000" in shown
    others = page(browser("bob"), f"/datasets/{raw_data}/")
    assert "secret" not in others
    assert "1 of 3 folds failed." in others
    assert "/submissions/" not in others


def test_test_scores_are_the_organisers_until_the_data_set_is_closed(api: Api, raw_data: int) -> None:
    all_scored(submission := owned(submit(api, raw_data), "ada"))
    paths = (f"/datasets/{raw_data}/", f"/submissions/{submission}/")
    assert [("0.7000" in page(browser("ada"), path)) for path in paths] == [False, False]
    boss = browser("organiser", Role.ORGANISER)
    assert [("0.7000" in page(boss, path)) for path in paths] == [True, True]
    accepted(api.send(f"rawdata/{raw_data}/close/", {}), 200)
    assert [("0.7000" in page(browser("ada"), path)) for path in paths] == [True, True]


def test_a_submission_is_shown_to_those_whom_it_concerns(api: Api, raw_data: int) -> None:
    path = f"/submissions/{owned(submit(api, raw_data), 'ada')}/"
    page(browser("ada"), path)
    page(browser("organiser", Role.ORGANISER), path)
    page(browser("root", Role.ADMIN), path)
    assert "none that you may see" in page(browser("bob"), path, 404)
    assert "none that you may see" in page(browser("eve", Role.ORGANISER), path, 404)
    page(browser("op", Role.OPERATOR), path, 403)
    page(browser("ada"), "/datasets/nothing/", 404)


def test_what_failed_is_quoted_and_is_no_markup(api: Api, raw_data: int) -> None:
    submission = submit(api, raw_data, HOSTILE)
    log = "\n".join(["early", *["more"] * 100, f"Traceback {HOSTILE}"])
    fail(str(folds_of(submission)[0].job_id), "train", f"ValueError: {HOSTILE}", log=log)
    shown = page(browser("organiser", Role.ORGANISER), f"/submissions/{submission}/")
    escaped = "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;"
    assert f"ValueError: {escaped}" in shown
    assert f"Traceback {escaped}" in shown
    assert "early" not in shown
    board = page(browser("organiser", Role.ORGANISER), f"/datasets/{raw_data}/")
    assert escaped in board
    assert "<script" not in shown + board


def test_it_says_why_it_waits_and_loads_itself_again_until_all_has_ended(api: Api, raw_data: int) -> None:
    submission = owned(submit(api, raw_data), "ada")
    path, ada = f"/submissions/{submission}/", browser("ada")
    shown = page(ada, path)
    assert RELOADS in shown
    assert 'class="waits"' in shown
    first, *others = folds_of(submission)
    score(first)
    for fold in others:
        fail(str(fold.job_id), "train", "ValueError")
    taken(bagging(submission))
    assert RELOADS in page(ada, path)  # it is bagged
    bagged(submission)
    assert RELOADS not in page(ada, path)


def test_the_curve_of_bagging_is_drawn(api: Api, raw_data: int) -> None:
    all_scored(submission := owned(submit(api, raw_data), "ada"))
    ada = browser("ada")
    assert "<svg" not in page(ada, f"/submissions/{submission}/")
    taken(bagging(submission))
    bagged(submission)
    shown = page(ada, f"/submissions/{submission}/")
    assert shown.count("<polyline") == 1  # that of the test rows is the organiser's
    assert 'points="70.0,175.0 340.0,95.0 610.0,15.0"' in shown
