"""Uploads in pieces: how they go on after an interruption, what is refused, and what is left of them."""

import hashlib
import os
import tracemalloc
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from runapp.models import AccessToken, Blob, IdempotencyKey, Upload
from runapp.services import blobs, retention, uploads
from runapp.services.roles import Role
from tests.integration.helpers import own_storage
from tests.integration.v1 import V1, Answer, problem, user

pytestmark = pytest.mark.django_db

CONTENT = b"0123456789" * 10
PIECES = "application/offset+octet-stream"


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path) -> Path:
    own_storage(settings, tmp_path / "blobs")
    settings.DIR_DATA = tmp_path
    return tmp_path / "uploads"


@pytest.fixture
def api() -> V1:
    return user("ada", Role.ORGANISER)


def announce(api: V1, content: bytes = CONTENT, **changed: object) -> Answer:
    return api.send(
        "uploads/", {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} | changed
    )


def announced(api: V1, content: bytes = CONTENT) -> str:
    answer = announce(api, content)
    assert answer.status_code == 201, answer.content
    assert answer.json()["offset"] == 0
    assert answer.headers["Location"] == f"/api/v1/uploads/{answer.json()['id']}/"
    return str(answer.headers["Location"])


def send(api: V1, place: str, offset: object, piece: bytes, content_type: str = PIECES) -> Answer:
    return api.generic("PATCH", place, piece, content_type=content_type, HTTP_UPLOAD_OFFSET=str(offset))


def offset(api: V1, place: str) -> int:
    answer: Any = api.head(place)
    assert answer.status_code == 200
    assert answer.headers["Upload-Length"] == str(len(CONTENT))
    return int(answer.headers["Upload-Offset"])


def test_a_file_in_pieces_becomes_a_blob(api: V1, folder: Path) -> None:
    place = announced(api)
    assert send(api, place, 0, CONTENT[:30]).json()["offset"] == 30
    assert offset(api, place) == 30
    assert not Blob.objects.exists()
    answer = send(api, place, 30, CONTENT[30:])
    assert (answer.status_code, answer.json()["offset"]) == (200, 100)
    assert blobs.get(hashlib.sha256(CONTENT).hexdigest()) == CONTENT
    assert list(folder.iterdir()) == []  # kept once
    assert offset(api, place) == 100


def test_an_empty_file_is_whole_at_once(api: V1) -> None:
    announced(api, b"")
    assert blobs.get(hashlib.sha256(b"").hexdigest()) == b""


@pytest.mark.parametrize("start", [0, 29, 31, 100, 10**17])
def test_a_piece_goes_on_where_the_file_ends(api: V1, start: int) -> None:
    place = announced(api)
    send(api, place, 0, CONTENT[:30])
    answer = send(api, place, start, CONTENT[start : start + 5])
    assert problem(answer, 409)["offset"] == 30
    assert answer.headers["Upload-Offset"] == "30"
    assert send(api, place, 30, CONTENT[30:]).json()["offset"] == 100


def test_a_piece_sent_twice_does_no_harm(api: V1) -> None:
    place = announced(api)
    send(api, place, 0, CONTENT)
    assert problem(send(api, place, 0, CONTENT), 409)["offset"] == 100


def test_what_came_before_the_connection_broke_is_kept(api: V1) -> None:
    upload = Upload.objects.get(pk=announced(api).split("/")[-2])

    def breaks() -> Any:
        yield CONTENT[:40]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        uploads.append(upload, 0, breaks())
    assert offset(api, f"/api/v1/uploads/{upload.pk}/") == 40


def test_a_damaged_file_starts_anew(api: V1) -> None:
    place = announced(api)
    answer = send(api, place, 0, CONTENT[::-1])
    assert problem(answer, 422)["type"] == "/problems/damaged"
    assert not Blob.objects.exists()
    assert offset(api, place) == 0
    assert send(api, place, 0, CONTENT).json()["offset"] == 100


def test_more_than_was_announced_is_refused(api: V1) -> None:
    place = announced(api)
    problem(send(api, place, 0, CONTENT + b"x"), 400)
    assert not Blob.objects.exists()


def test_two_requests_do_not_write_at_once(api: V1) -> None:
    place = announced(api)
    upload = Upload.objects.get(pk=place.split("/")[-2])

    def meanwhile() -> Any:
        yield CONTENT[:10]
        answer = send(api, place, 10, CONTENT[10:])
        assert problem(answer, 409)["type"] == "/problems/busy"
        yield CONTENT[10:]

    assert uploads.append(upload, 0, meanwhile()) == 100


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"size": -1}, "size"),
        ({"size": "x"}, "size"),
        ({"size": 3 * 2**30}, "size"),
        ({"size": None}, "size"),
        ({"sha256": "0" * 63}, "sha256"),
        ({"sha256": "g" * 64}, "sha256"),
        ({"sha256": "x" + "0" * 64}, "sha256"),
        ({"size": 0}, "sha256"),
    ],
)
def test_what_can_not_be_announced_names_the_field(api: V1, changed: dict[str, object], field: str) -> None:
    said = problem(announce(api, **changed), 400)
    assert [error["field"] for error in said["errors"]] == [field]


@pytest.mark.parametrize("start", ["", "x", "-1", "1.0", "9" * 19])
def test_an_offset_is_a_number(api: V1, start: str) -> None:
    problem(send(api, announced(api), start, b"x"), 400)


def test_a_piece_has_its_media_type(api: V1) -> None:
    problem(send(api, announced(api), 0, CONTENT, "application/json"), 415)


def test_participants_may_send_what_a_submission_may_be(settings: Settings) -> None:
    settings.MAX_SUBMISSION = 99
    problem(announce(user("eve")), 400)
    assert announce(user("ada", Role.ORGANISER)).status_code == 201


def test_one_has_so_many_unfinished_ones(api: V1, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_OPEN", 1)
    place = announced(api)
    problem(announce(api), 400)
    assert api.delete(place).status_code == 204
    problem(api.get(place), 404)
    announced(api)


def test_nobody_else_sees_or_continues_it(api: V1) -> None:
    place, admin = announced(api), user("root", Role.ADMIN)
    for answer in (admin.get(place), send(admin, place, 0, b"x"), admin.delete(place)):
        problem(answer, 404)


def test_a_token_that_is_revoked_in_the_middle_sends_no_more(api: V1) -> None:
    place = announced(api)
    send(api, place, 0, CONTENT[:30])
    AccessToken.objects.all().delete()
    problem(send(api, place, 30, CONTENT[30:]), 401)
    again = user("ada", Role.ORGANISER)  # with another token one goes on
    assert send(again, place, 30, CONTENT[30:]).json()["offset"] == 100


def test_what_nobody_goes_on_with_is_thrown_away(api: V1, folder: Path) -> None:
    old, young = announced(api), announced(api, b"x" * 100)
    for place in (old, young):
        send(api, place, 0, b"x" * 10)
    Upload.objects.filter(pk=old.split("/")[-2]).update(seen_at=timezone.now() - timedelta(days=3))
    retention.clean()
    problem(api.get(old), 404)
    assert api.get(young).status_code == 200
    assert len(list(folder.iterdir())) == 1


def test_files_of_users_who_are_gone_are_thrown_away(api: V1, folder: Path) -> None:
    send(api, announced(api), 0, b"x")
    Upload.objects.all().delete()
    retention.clean()
    (left,) = folder.iterdir()
    os.utime(left, (0, 0))
    retention.clean()
    assert list(folder.iterdir()) == []


def test_a_large_file_does_not_pass_through_memory(api: V1, tmp_path: Path) -> None:
    size, piece = 64 * 2**20, bytes(2**20)
    digest = hashlib.sha256()
    for _ in range(64):
        digest.update(piece)
    place = str(
        api.send("uploads/", {"size": size, "sha256": digest.hexdigest()}).headers["Location"],
    )
    upload = Upload.objects.get(pk=place.split("/")[-2])
    tracemalloc.start()
    uploads.append(upload, 0, (piece for _ in range(64)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert Blob.objects.get().size == size
    assert peak < 8 * 2**20


# --- Idempotency-Key -----------------------------------------------------------------------------------


def test_the_same_request_again_makes_nothing_twice(api: V1) -> None:
    body = {"size": 1, "sha256": "0" * 64}
    first = api.send("uploads/", body, HTTP_IDEMPOTENCY_KEY="k")
    again = api.send("uploads/", body, HTTP_IDEMPOTENCY_KEY="k")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert first.headers["Location"] == again.headers["Location"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert Upload.objects.count() == 1


def test_a_key_is_for_one_request_of_one_user(api: V1) -> None:
    body = {"size": 1, "sha256": "0" * 64}
    api.send("uploads/", body, HTTP_IDEMPOTENCY_KEY="k")
    problem(api.send("uploads/", body | {"size": 2}, HTTP_IDEMPOTENCY_KEY="k"), 422)
    assert user("eve").send("uploads/", body, HTTP_IDEMPOTENCY_KEY="k").status_code == 201
    assert Upload.objects.count() == 2


def test_a_refused_request_can_be_mended_under_its_key(api: V1) -> None:
    problem(api.send("uploads/", {"size": -1}, HTTP_IDEMPOTENCY_KEY="k"), 400)
    assert api.send("uploads/", {"size": 1, "sha256": "0" * 64}, HTTP_IDEMPOTENCY_KEY="k").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "é"])
def test_a_key_is_a_short_text(api: V1, key: str) -> None:
    problem(api.send("uploads/", {"size": 1, "sha256": "0" * 64}, HTTP_IDEMPOTENCY_KEY=key), 400)


def test_keys_are_forgotten_in_the_end(api: V1) -> None:
    api.send("uploads/", {"size": 1, "sha256": "0" * 64}, HTTP_IDEMPOTENCY_KEY="k")
    retention.clean()
    assert IdempotencyKey.objects.exists()
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(days=3))
    retention.clean()
    assert not IdempotencyKey.objects.exists()
