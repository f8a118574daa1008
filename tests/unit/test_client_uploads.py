"""An upload that was interrupted goes on where it ended: on a lost connection, in another process, with a new token."""

import hashlib
from pathlib import Path

import pytest

from datarun.client import errors
from datarun.client.transport import Transport
from datarun.client.uploads import upload
from tests.scripted import VERSION, Answer, Asked, datarun, problem, scripted

CONTENT = bytes(range(256)) * 4
PIECE = 100


class Uploads:
    """The server's side of the protocol (tus 1.0); `fail` is answered instead when so many bytes are there."""

    def __init__(self) -> None:
        self.got = b""
        self.made: list[dict[str, object]] = []
        self.fail: dict[int, Answer] = {}

    def __call__(self, asked: Asked) -> Answer:
        if asked.method == "POST":
            self.made.append(asked.json)
            self.got = b""
            return datarun({"id": f"u{len(self.made)}", "offset": 0, "size": asked.json["size"]}, 201)
        if asked.path != f"/api/v1/uploads/u{len(self.made)}/":
            return problem(404, "not-found", "There is no such upload.")
        if asked.method == "PATCH":
            if len(self.got) in self.fail:
                return self.fail.pop(len(self.got))
            if asked.headers["Upload-Offset"] != str(len(self.got)):
                return problem(409, "offset", "That is not where it ended.")
            self.got += asked.body
        return Answer(204, b"", VERSION | {"Upload-Offset": str(len(self.got))})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    path.write_bytes(CONTENT)
    return path


def send(url: str, file: Path, token: str = "token") -> str:
    transport = Transport(url, token, patience=5, first_pause=0.001)
    return upload(transport, file, piece=PIECE, memory=file.parent / "state" / "uploads.json")


def test_a_file_goes_up_in_pieces(file: Path) -> None:
    with scripted() as server:
        server.script = uploads = Uploads()
        assert send(server.url, file) == "u1"
    assert uploads.got == CONTENT
    assert uploads.made == [{"size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}]


def test_progress_ends_with_everything(file: Path) -> None:
    seen: list[tuple[int, int]] = []
    with scripted() as server:
        server.script = Uploads()
        upload(
            Transport(server.url, "token"), file, lambda *at: seen.append(at), PIECE, file.parent / "memory"
        )
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_piece_whose_answer_got_lost_is_not_sent_twice(file: Path) -> None:
    with scripted() as server:
        uploads = Uploads()

        def script(asked: Asked) -> Answer:
            answer = uploads(asked)
            arrived = asked.method == "PATCH" and len(uploads.got) == 3 * PIECE and answer.status == 204
            return Answer(cut=-1) if arrived else answer

        server.script = script
        send(server.url, file)
    assert uploads.got == CONTENT
    assert len(uploads.made) == 1


def test_a_token_revoked_on_the_way_says_so_and_the_upload_goes_on_with_a_new_one(file: Path) -> None:
    with scripted() as server:
        server.script = uploads = Uploads()
        uploads.fail[5 * PIECE] = problem(401, "unauthenticated", "Invalid token.")
        with pytest.raises(errors.NotLoggedIn, match="datarun login"):
            send(server.url, file)
        before = len(server.asked)
        assert send(server.url, file, "new token") == "u1"
        sent = [each for each in server.asked[before:] if each.method == "PATCH"]
    assert uploads.got == CONTENT
    assert len(uploads.made) == 1
    assert b"".join(each.body for each in sent) == CONTENT[5 * PIECE :]


def test_one_that_the_platform_has_forgotten_starts_again(file: Path) -> None:
    with scripted() as server:
        server.script = uploads = Uploads()
        uploads.fail[PIECE] = problem(500, "error", "Disk.")
        with pytest.raises(errors.PlatformFailed):
            send(server.url, file)
        uploads.made.append({})  # it has another one since
        assert send(server.url, file) == "u3"
    assert uploads.got == CONTENT


def test_what_does_not_get_on_is_no_endless_loop(file: Path) -> None:
    with scripted() as server:
        server.script = lambda asked: (
            datarun({"id": "u1", "offset": 0}, 201)
            if asked.method == "POST"
            else Answer(204, b"", VERSION | {"Upload-Offset": "0"})
        )
        with pytest.raises(errors.PlatformFailed, match="does not get on"):
            send(server.url, file)


def test_an_upload_that_is_done_is_not_remembered(file: Path) -> None:
    with scripted() as server:
        server.script = uploads = Uploads()
        send(server.url, file)
        assert send(server.url, file) == "u2"
    assert len(uploads.made) == 2
