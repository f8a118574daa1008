"""What an operator's tools ask of manage.py: status, the first admin, and runners that go."""

import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from runapp.models import Runner
from runapp.services import runners
from tests.integration.jobs import fold, live, prepared

pytestmark = pytest.mark.django_db


def status() -> dict[str, Any]:
    said = io.StringIO()
    call_command("status", stdout=said)
    answer: dict[str, Any] = json.loads(said.getvalue())
    return answer


def test_status_says_what_runs_where_and_what_waits() -> None:
    live("celery@one", slots=3, serves=["L", "celery"])
    token = runners.new_token("celery@one")
    fold(prepared())
    said = status()
    (one,) = said["runners"]
    assert (one["name"], one["state"], one["queues"], one["slots"], one["runs"]) == (
        "celery@one", "live", ["L", "celery"], 3, 0,
    )  # fmt: skip
    assert list(said["tokens"]) == ["celery@one"]
    assert token not in json.dumps(said)
    assert {"queue": "L", "state": "created", "jobs": 1} in said["queues"]


def test_status_says_which_runner_has_other_packages() -> None:
    for name in ("one", "two", "three"):
        live(name)
    Runner.objects.filter(name="two").update(versions={"numpy": "1.0", "packages": "abc"})
    differs = {runner["name"]: runner["differs"] for runner in status()["runners"]}
    assert differs == {"one": [], "two": ["numpy", "packages"], "three": []}


def test_a_deleted_runner_is_revoked_and_no_other_is() -> None:
    live("one")
    tokens = {name: runners.new_token(name) for name in ("one", "two")}
    call_command("deleterunner", "one")
    assert not runners.is_token(tokens["one"])
    assert runners.is_token(tokens["two"])
    assert not Runner.objects.filter(name="one").exists()


def test_the_first_admin_has_the_password_of_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    password = " p@ss 'w\"$é "
    with pytest.raises(CommandError, match="no admin yet"):
        call_command("createadmin", "--check")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
    call_command("createadmin", "--name", "boss", "--email", "boss@example.org")
    call_command("createadmin", "--check")
    admin = User.objects.get(username="boss")
    assert admin.is_superuser
    assert admin.check_password(password)


def test_an_admin_without_a_password_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(CommandError, match="password is empty"):
        call_command("createadmin", "--name", "boss")
    assert not User.objects.exists()
