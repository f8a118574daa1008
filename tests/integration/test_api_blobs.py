"""Blobs for runners: their own token opens them and nothing else does; what is stored is what its name says."""

import hashlib
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings
from rest_framework.authtoken.models import Token

from datarun.contract.runners import DEVELOPMENT_TOKEN
from runapp.models import Blob, RunnerToken
from runapp.services import blobs, runners
from tests.integration.helpers import (
    CSV,
    Answer,
    at_once,
    organiser,
    own_storage,
    pack,
    post_data,
    row_counts,
    stored_files,
)

pytestmark = pytest.mark.django_db

SMALL = b"small \0\xff content"
LARGE = bytes(range(256)) * 1024
EMPTY = b""
every_size = pytest.mark.parametrize("content", [EMPTY, SMALL, LARGE], ids=["empty", "small", "large"])


@pytest.fixture(autouse=True)
def _storage(settings: Settings, tmp_path: Path) -> None:
    own_storage(settings, tmp_path)


@pytest.fixture
def runner() -> Client:
    return bearer(runners.new_token("runner-1"))


def bearer(token: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {token}"})


def name_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(client: Client, name: str, content: bytes) -> Answer:
    return client.put(f"/blobs/{name}", content, content_type="application/octet-stream")


def read(answer: Answer) -> bytes:
    return b"".join(answer.streaming_content)


@every_size
def test_a_runner_gets_the_bytes_by_their_hash(runner: Client, content: bytes) -> None:
    answer = runner.get(f"/blobs/{blobs.put(content)}")
    assert answer.status_code == 200
    assert read(answer) == content
    assert answer.headers["Content-Length"] == str(len(content))
    assert answer.headers["Content-Type"] == "application/octet-stream"


def test_a_runner_gets_the_files_of_a_data_set(runner: Client) -> None:
    csv = CSV + b"1,2,0\n" * 50_000
    post_data(organiser(), files={"flowers.csv": pack(csv)})
    assert read(runner.get(f"/blobs/{name_of(csv)}")) == csv


@every_size
def test_a_runner_stores_bytes_under_their_hash(runner: Client, tmp_path: Path, content: bytes) -> None:
    answer = put(runner, name_of(content), content)
    assert (answer.status_code, answer.content) == (204, b"")
    assert blobs.get(name_of(content)) == content
    assert Blob.objects.get().size == len(content)
    assert stored_files(tmp_path) == ({name_of(content)} if content is LARGE else set())


@every_size
def test_storing_twice_is_storing_once(runner: Client, tmp_path: Path, content: bytes) -> None:
    for _ in range(2):
        assert put(runner, name_of(content), content).status_code == 204
    assert Blob.objects.count() == 1
    assert len(stored_files(tmp_path)) <= 1
    assert blobs.get(name_of(content)) == content


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_damaged_bytes_are_refused_and_leave_nothing(runner: Client, tmp_path: Path, content: bytes) -> None:
    for damaged in (content[:-1], content + b"\0", EMPTY, b"x" + content[1:]):
        answer = put(runner, name_of(content), damaged)
        assert answer.status_code == 400
        assert list(answer.json()) == ["sha256"]
    assert not Blob.objects.exists()
    assert stored_files(tmp_path) == set()


def test_damaged_bytes_do_not_touch_what_is_stored(runner: Client) -> None:
    blobs.put(LARGE)
    assert put(runner, name_of(LARGE), b"other").status_code == 400
    assert read(runner.get(f"/blobs/{name_of(LARGE)}")) == LARGE


def test_bytes_beyond_the_limit_are_refused_and_leave_nothing(
    runner: Client, settings: Settings, tmp_path: Path
) -> None:
    settings.MAX_FILE = len(LARGE) - 1
    assert put(runner, name_of(LARGE), LARGE).status_code == 413
    assert stored_files(tmp_path) == set()
    settings.MAX_FILE = len(LARGE)
    assert put(runner, name_of(LARGE), LARGE).status_code == 204


@pytest.mark.parametrize(
    "name",
    ["x", "0" * 63, "0" * 65, "g" * 64, name_of(SMALL).upper(), "..", "%2e%2e%2fsettings", "%00", "é" * 64],
)
def test_what_is_no_hash_names_no_blob(runner: Client, name: str) -> None:
    assert runner.get(f"/blobs/{name}").status_code == 404
    assert put(runner, name, SMALL).status_code in {400, 404}
    assert not Blob.objects.exists()


def test_an_unknown_hash_is_not_found(runner: Client) -> None:
    assert runner.get(f"/blobs/{name_of(SMALL)}").status_code == 404


# --- who may -------------------------------------------------------------------------------------------


def strangers() -> dict[str, Client]:
    user = User.objects.create_superuser("ada", password="good password")
    session = Client()
    session.force_login(user)
    revoked = runners.new_token("revoked")
    RunnerToken.objects.filter(name="revoked").delete()
    replaced = runners.new_token("replaced")
    good = runners.new_token("replaced")
    return {
        "nobody": Client(),
        "a user's session": session,
        "a user's password": Client(headers={"Authorization": "Basic YWRhOmdvb2QgcGFzc3dvcmQ="}),
        "a user's token": organiser("ada"),
        "a user's token as a runner's": bearer(Token.objects.get(user=user).key),
        "a revoked token": bearer(revoked),
        "an earlier token": bearer(replaced),
        "another token": bearer("x" * 43),
        "no token": bearer(""),
        "two tokens": bearer(f"{good} {good}"),
        "strange characters": bearer("\xff\xfe"),
        "another scheme": Client(headers={"Authorization": f"Token {good}"}),
        "its hash": bearer(hashlib.sha256(good.encode()).hexdigest()),
    }


def test_nobody_else_reads_or_stores() -> None:
    sha256 = blobs.put(SMALL)
    clients = strangers()
    before = row_counts()
    for who, client in clients.items():
        for name in (sha256, "0" * 64):  # known or not: the answer doesn't tell
            answer = client.get(f"/blobs/{name}")
            assert answer.status_code == 401, who
            assert SMALL not in answer.content, who
        assert put(client, name_of(LARGE), LARGE).status_code == 401, who
    assert row_counts() == before


def test_a_refusal_names_the_scheme() -> None:
    assert Client().get(f"/blobs/{'0' * 64}").headers["WWW-Authenticate"] == "Bearer"


def test_a_revoked_token_stops_working_at_once(runner: Client) -> None:
    url = f"/blobs/{blobs.put(SMALL)}"
    assert runner.get(url).status_code == 200
    RunnerToken.objects.all().delete()
    assert runner.get(url).status_code == 401


def test_the_command_line_makes_a_token_and_replaces_it() -> None:
    url = f"/blobs/{blobs.put(SMALL)}"
    clients = []
    for _ in range(2):
        said = StringIO()
        call_command("createrunner", "runner-2", stdout=said)
        clients.append(bearer(said.getvalue().strip()))
        assert clients[-1].get(url).status_code == 200
    assert clients[0].get(url).status_code == 401
    assert RunnerToken.objects.count() == 1


def test_only_the_hash_of_a_token_is_kept() -> None:
    token = runners.new_token("runner-3")
    assert all(token not in str(value) for value in RunnerToken.objects.values_list("name", "sha256"))


@pytest.mark.parametrize(
    ("production", "debug", "status"), [(False, True, 200), (False, False, 401), (True, True, 401)]
)
def test_the_development_token_works_while_developing_only(
    settings: Settings, production: bool, debug: bool, status: int
) -> None:
    settings.PRODUCTION, settings.DEBUG = production, debug
    assert bearer(DEVELOPMENT_TOKEN).get(f"/blobs/{blobs.put(SMALL)}").status_code == status


def test_a_runners_token_opens_nothing_of_the_api(runner: Client) -> None:
    for route in ("rawdata/", "submissionfold/", "submissionfold-light/"):
        assert runner.get(f"/runapp/{route}").status_code == 401
    assert runner.get("/docs/").status_code == 302
    assert runner.get("/admin/").status_code == 302


@pytest.mark.django_db(transaction=True)
def test_many_may_store_the_same_bytes_at_once(tmp_path: Path) -> None:
    token = runners.new_token("runner-1")
    answers = at_once(*(lambda: put(bearer(token), name_of(LARGE), LARGE) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {204}
    assert stored_files(tmp_path) == {name_of(LARGE)}
    assert blobs.get(name_of(LARGE)) == LARGE


@pytest.mark.django_db(transaction=True)
def test_bytes_that_the_disk_has_no_room_for_are_stored_when_they_are_sent_again(
    runner: Client, tmp_path: Path
) -> None:
    runner.raise_request_exception = False
    with files_end_at(100_000):
        assert put(runner, name_of(LARGE), LARGE).status_code == 500
    assert stored_files(tmp_path) == set()
    assert put(runner, name_of(LARGE), LARGE).status_code == 204
    assert read(runner.get(f"/blobs/{name_of(LARGE)}")) == LARGE


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Meanwhile no file of this process gets larger, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
