"""post_api.py says to the platform what existing clients mean: routes, bodies, encodings and authentication.

The other end is a real HTTP server that records what arrives; every function is called by position, in the
order that its callers rely on.
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import requests

sys.path.append(str(Path(__file__).resolve().parents[2] / "test_files"))

import post_api


class Request(NamedTuple):
    """What arrived; ``body`` is None when there was none."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Platform:
    """An HTTP server on a free port that records every request and answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.status = 200
        self.answer = b"[]"
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.host_url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def login(self) -> tuple[str, str, str]:
        return self.host_url, "MrTest", "test"

    @property
    def received(self) -> Request:
        """The one request of a test."""
        (request,) = self.requests
        return request

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        platform = self

        class Handler(BaseHTTPRequestHandler):
            def record_and_answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                # Not self.path: http.server makes one slash of two at its start.
                method, path, _ = self.requestline.split()
                request = Request(method, path, headers, json.loads(body) if body else None)
                platform.requests.append(request)
                platform.may_answer.wait()
                self.send_response(platform.status)
                self.send_header("Content-Length", str(len(platform.answer)))
                self.end_headers()
                self.wfile.write(platform.answer)

            do_GET = do_POST = record_and_answer  # noqa: N815 - the names http.server looks for

            def log_message(self, format: str, *args: Any) -> None:
                """Keep the tests' output quiet."""

        return Handler


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    platform = Platform()
    thread = threading.Thread(target=platform.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield platform
    platform.may_answer.set()
    platform.server.shutdown()
    platform.server.server_close()
    thread.join()


def decode(text: str) -> bytes:
    text.encode("ascii")
    return zlib.decompress(base64.b64decode(text, validate=True))


def write(folder: Path, contents: dict[str, bytes]) -> list[Path]:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


# Routes


GETS = [
    (post_api.get_raw_data, (), "/runapp/rawdata/"),
    (post_api.get_submission_fold_light, (), "/runapp/submissionfold-light/"),
    (post_api.get_submission_fold, (), "/runapp/submissionfold/"),
    (post_api.get_submission_fold_detail, (7,), "/runapp/submissionfold/7/"),
]

POSTS = [
    (
        post_api.post_split,
        (0.2, 3, 57),
        "/runapp/rawdata/split/",
        {"raw_data_id": 3, "held_out_test": 0.2, "random_state": 57},
    ),
    (
        post_api.post_split,
        (0.2, 3),
        "/runapp/rawdata/split/",
        {"raw_data_id": 3, "held_out_test": 0.2, "random_state": 42},
    ),
    (post_api.custom_post_split, (3,), "/runapp/rawdata/customsplit/", {"raw_data_id": 3}),
    (
        post_api.get_prediction_list,
        ([1, 2],),
        "/runapp/testpredictions/list/",
        {"list_submission_fold": [1, 2]},
    ),
    (post_api.get_prediction_new, (3,), "/runapp/testpredictions/new/", {"raw_data_id": 3}),
    (post_api.get_prediction_new, (), "/runapp/testpredictions/new/", {}),
]


@pytest.mark.parametrize(("function", "arguments", "path"), GETS)
def test_a_get_asks_the_route_without_a_body(
    platform: Platform, function: Callable[..., requests.Response], arguments: tuple[Any, ...], path: str
) -> None:
    function(*platform.login, *arguments)

    request = platform.received
    assert (request.method, request.path, request.body) == ("GET", path, None)


@pytest.mark.parametrize(("function", "arguments", "path", "body"), POSTS)
def test_a_post_sends_json_to_the_route(
    platform: Platform,
    function: Callable[..., requests.Response],
    arguments: tuple[Any, ...],
    path: str,
    body: dict[str, Any],
) -> None:
    function(*platform.login, *arguments)

    request = platform.received
    assert (request.method, request.path, request.body) == ("POST", path, body)
    assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize("ending", ["", "/"])
def test_the_host_may_end_with_a_slash(platform: Platform, ending: str) -> None:
    post_api.get_raw_data(platform.host_url + ending, "MrTest", "test")
    post_api.custom_post_split(platform.host_url + ending, "MrTest", "test", 3)

    paths = [request.path for request in platform.requests]
    assert paths == ["/runapp/rawdata/", "/runapp/rawdata/customsplit/"]


# Authentication and answers


@pytest.mark.parametrize(("username", "password"), [("MrTest", "test"), ("Łucja", "pass:wörd")])
def test_every_request_carries_basic_authentication(platform: Platform, username: str, password: str) -> None:
    post_api.get_raw_data(platform.host_url, username, password)
    post_api.get_prediction_new(platform.host_url, username, password)

    expected = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
    assert [request.headers["authorization"] for request in platform.requests] == [expected, expected]


def test_a_refusal_comes_back_as_the_response_it_is(platform: Platform) -> None:
    platform.status = 400
    platform.answer = b'{"name": ["RawData with this name already exists"]}'

    response = post_api.custom_post_split(*platform.login, 3)

    assert response.status_code == 400
    assert response.content == platform.answer


@pytest.mark.timeout(10)
def test_a_platform_that_does_not_answer_ends_in_a_timeout(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post_api, "TIMEOUT", (5, 0.1))
    platform.may_answer.clear()

    with pytest.raises(requests.Timeout):
        post_api.get_raw_data(*platform.login)
    with pytest.raises(requests.Timeout):
        post_api.get_prediction_new(*platform.login)


# Data


def test_data_go_with_their_files_by_base_name(platform: Platform, tmp_path: Path) -> None:
    compressed = gzip.compress(bytes(range(256)) * 50)
    contents = {
        "raw/data.csv": b"a,b\n1,2\n",
        "raw/pixels.csv.gz": compressed,
        "code/custom.py": b"x = '\xc3\xa9'\n",
    }
    data, pixels, custom = write(tmp_path, contents)

    post_api.post_data(*platform.login, "digits", "label", "classifier", str(data), [pixels, str(custom)])

    request = platform.received
    assert (request.method, request.path) == ("POST", "/runapp/rawdata/")
    files = request.body.pop("files")
    assert request.body == {"name": "digits", "target_column": "label", "workflow_elements": "classifier"}
    assert {name: decode(text) for name, text in files.items()} == {
        "data.csv": contents["raw/data.csv"],
        "pixels.csv.gz": compressed,
        "custom.py": contents["code/custom.py"],
    }


def test_data_need_no_extra_files(platform: Platform, tmp_path: Path) -> None:
    (data,) = write(tmp_path, {"iris.csv": b"a\n1\n"})

    post_api.post_data(*platform.login, "iris", "a", "classifier", data)

    assert list(platform.received.body["files"]) == ["iris.csv"]


def test_two_files_of_one_name_are_refused_before_anything_is_sent(
    platform: Platform, tmp_path: Path
) -> None:
    data, extra = write(tmp_path, {"a/data.csv": b"1", "b/data.csv": b"2"})

    with pytest.raises(ValueError, match=r"data\.csv"):
        post_api.post_data(*platform.login, "twins", "a", "classifier", data, [extra])

    assert platform.requests == []


# Submission folds


def test_a_new_submission_goes_with_its_files(platform: Platform, tmp_path: Path) -> None:
    (classifier,) = write(tmp_path, {"classifier.py": b"class Classifier: ...\n"})

    post_api.post_submission_fold(
        *platform.login, 1, 2, [0, 1, 1], [2], "H", 3, [classifier], "submission, submission_fold"
    )

    request = platform.received
    assert (request.method, request.path) == ("POST", "/runapp/submissionfold/")
    body = request.body
    assert np.frombuffer(decode(body.pop("train_is")), dtype="<i8").tolist() == [0, 1, 1]
    assert np.frombuffer(decode(body.pop("test_is")), dtype="<i8").tolist() == [2]
    files = body.pop("files")
    assert {name: decode(text) for name, text in files.items()} == {"classifier.py": classifier.read_bytes()}
    assert body == {
        "databoard_s_id": 1,
        "databoard_sf_id": 2,
        "priority": "H",
        "raw_data": 3,
        "force": "submission, submission_fold",
    }


def test_another_fold_says_no_more_than_it_needs(platform: Platform) -> None:
    post_api.post_submission_fold(*platform.login, 1, 2, [0], [1])

    body = platform.received.body
    assert body["priority"] == "L"
    assert body.keys() == {"databoard_s_id", "databoard_sf_id", "train_is", "test_is", "priority"}


@pytest.mark.parametrize(
    "indices",
    [
        [4, 0, 300],
        np.array([4, 0, 300], dtype="int16"),
        np.array([4, 0, 300], dtype=">i4"),
        np.array([4, 0, 300], dtype="uint64"),
        np.array([4, 1, 0, 1, 300, 1])[::2],
    ],
    ids=["list", "int16", "big-endian", "uint64", "strided"],
)
def test_indices_are_sent_as_little_endian_int64(platform: Platform, indices: npt.ArrayLike) -> None:
    post_api.post_submission_fold(*platform.login, 1, 2, indices, indices)

    expected = b"".join(index.to_bytes(8, "little") for index in (4, 0, 300))
    assert decode(platform.received.body["train_is"]) == expected
    assert decode(platform.received.body["test_is"]) == expected


@pytest.mark.parametrize(
    "indices",
    [[0.5, 1.0], [True, False], [[0, 1], [2, 3]], 3],
    ids=["floats", "mask", "two dimensions", "scalar"],
)
def test_what_are_not_indices_is_refused_before_anything_is_sent(
    platform: Platform, indices: npt.ArrayLike
) -> None:
    with pytest.raises(ValueError, match="train_is"):
        post_api.post_submission_fold(*platform.login, 1, 2, indices, [0])
    with pytest.raises(ValueError, match="test_is"):
        post_api.post_submission_fold(*platform.login, 1, 2, [0], indices)

    assert platform.requests == []


def test_no_indices_at_all_are_left_for_the_platform_to_refuse(platform: Platform) -> None:
    post_api.post_submission_fold(*platform.login, 1, 2, [], [0])

    assert decode(platform.received.body["train_is"]) == b""


def test_ids_may_come_out_of_an_array(platform: Platform) -> None:
    ids: Any = np.array([3, 5, 6])

    post_api.get_prediction_list(*platform.login, ids[1:])
    post_api.post_submission_fold(*platform.login, ids[0], ids[1], [0], [1])

    listed, posted = platform.requests
    assert listed.body == {"list_submission_fold": [5, 6]}
    assert (posted.body["databoard_s_id"], posted.body["databoard_sf_id"]) == (3, 5)
