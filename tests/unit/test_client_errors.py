"""Whatever answers, or nothing: a client says in one sentence what is wrong, and what to do."""

import socket
from datetime import UTC, datetime, timedelta

import pytest

from datarun import Client
from datarun.client import errors
from datarun.client.transport import platform_url
from tests.scripted import DROPPED, VERSION, Answer, datarun, page, problem, scripted

SERVICE = {"name": "datarun", "version": "0.1.0", "api": 1}


def client(url: str) -> Client:
    return Client(url, "token", patience=0)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("datarun.example.org", "https://datarun.example.org/"),
        ("localhost:8000", "http://localhost:8000/"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000/"),
        ("http://lab/datarun", "http://lab/datarun/"),
        (" https://lab/api/v1/ ", "https://lab/"),
        ("https://lab/docs", "https://lab/"),
    ],
)
def test_addresses_are_taken_as_people_write_them(written: str, meant: str) -> None:
    assert platform_url(written) == meant


@pytest.mark.parametrize(
    "written", ["", "ftp://lab", "http://", "http://lab:port", "https://lab/?page=1", "two words"]
)
def test_what_is_no_address_is_refused(written: str) -> None:
    with pytest.raises(errors.ConfigError, match="no address"):
        platform_url(written)


def test_a_password_does_not_belong_into_the_address() -> None:
    with pytest.raises(errors.ConfigError, match="token"):
        platform_url("https://me:secret@lab")


def test_nothing_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        with pytest.raises(errors.Unreachable, match=f"{url} can't be reached: nothing listens there"):
            client(url).me()


def test_no_such_host() -> None:
    with pytest.raises(errors.Unreachable, match="no such host is known"):
        client("https://no-such-host.invalid").me()


def test_a_platform_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_client = Client(
            f"http://127.0.0.1:{silent.getsockname()[1]}", "token", timeout=0.2, patience=0
        )
        with pytest.raises(errors.Unreachable, match="did not answer in time"):
            silent_client.me()


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (page("<title>Sign in\n to Corp</title>"), errors.NotDatarun, "a web page ('Sign in to Corp')"),
        (page("<title>Not Found</title>", 404), errors.NotDatarun, "404"),
        (Answer(200, b"{}", {"Content-Type": "application/json"}), errors.NotDatarun, "application/json"),
        (page("<title>502</title>", 502), errors.Unreachable, "proxy in front of it answers 502"),
        (page("", 301, Location="https://lab/api/v1/"), errors.NotDatarun, "https://lab/api/v1/"),
        (Answer(200, b'{"user', VERSION), errors.NotDatarun, "cut short"),
        (Answer(200, b'{"username": "me"}', VERSION, cut=9), errors.Unreachable, "connection broke"),
        (DROPPED, errors.Unreachable, "connection broke"),
        (problem(500, "error", "Its log says why."), errors.PlatformFailed, "Its log says why"),
        (problem(401, "unauthenticated", "Invalid token."), errors.NotLoggedIn, "datarun login"),
        (problem(403, "forbidden", "Not your role."), errors.Forbidden, "Not your role"),
        (problem(404, "not-found", "There is no job 3."), errors.NotFound, "There is no job 3"),
        (problem(418, "error", "Short and stout."), errors.Refused, "stout"),
        (Answer(400, b"[]", VERSION), errors.Refused, "400"),
    ],
)
def test_each_answer_that_is_none_has_its_sentence(answer: Answer, kind: type[Exception], words: str) -> None:
    with scripted(answer) as server, pytest.raises(kind) as raised:
        client(server.url).me()
    assert type(raised.value) is kind
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_fields_that_are_refused_are_named() -> None:
    wrong = [{"field": "cv", "message": "Unknown splitter."}]
    with (
        scripted(problem(400, "invalid", "cv: Unknown splitter.", errors=wrong)) as server,
        pytest.raises(errors.Refused) as raised,
    ):
        client(server.url).dataset("iris")
    assert raised.value.errors == [("cv", "Unknown splitter.")]
    assert raised.value.kind == "invalid"


def test_the_same_code_again_names_the_first_submission() -> None:
    with (
        scripted(problem(409, "duplicate", "This is submission 7.", submission=7)) as server,
        pytest.raises(errors.Duplicate) as raised,
    ):
        client(server.url).submission(1)
    assert raised.value.submission == 7


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_more_than_allowed_says_when_it_is_possible_again(form: str) -> None:
    at = datetime.now(UTC) + timedelta(hours=3)
    after = "10800" if form == "seconds" else f"{at:%a, %d %b %Y %H:%M:%S} GMT"
    with (
        scripted(problem(429, "limit", "3 submissions a day.", {"Retry-After": after})) as server,
        pytest.raises(errors.TryLater, match=r"3 submissions a day\. Possible again: ") as raised,
    ):
        client(server.url).me()
    assert raised.value.at is not None
    assert abs(raised.value.at - at) < timedelta(seconds=30)
    assert f"{at.astimezone():%Y-%m-%d %H:}" in str(raised.value)


def test_another_version_of_the_api_is_told() -> None:
    with (
        scripted(datarun(SERVICE | {"api": 2, "version": "9.1"})) as server,
        pytest.raises(errors.OtherVersion, match=r"datarun 9\.1.*version 2.*pip install"),
    ):
        client(server.url).service()


def test_another_service_is_told() -> None:
    with (
        scripted(datarun({"name": "gitea", "version": "1"})) as server,
        pytest.raises(errors.NotDatarun, match="no datarun platform"),
    ):
        client(server.url).service()


def test_a_value_that_is_missing_is_the_version_s_fault() -> None:
    with scripted(datarun({"id": 1, "name": "iris"})) as server:
        dataset = client(server.url).dataset("iris")
        with pytest.raises(errors.OtherVersion, match="'state'"):
            _ = dataset.state


def test_a_missing_route_of_another_version_names_both() -> None:
    answer = problem(404, "not-found", "There is no such route.")
    other = Answer(404, answer.body, {**answer.headers, "Datarun-Version": "9.1"})
    with scripted(other) as server, pytest.raises(errors.NotFound, match=r"datarun 9\.1, this client is"):
        client(server.url).me()


def test_the_token_goes_to_its_platform_only() -> None:
    """Neither the address of a next page nor that of content elsewhere is trusted with it."""
    with scripted() as elsewhere, scripted() as server:
        rows = {"results": [{"id": 1}], "next": f"{elsewhere.url}api/v1/tokens/?cursor=x", "previous": None}
        server.answers.extend([datarun(rows), datarun(rows | {"next": None})])
        assert len(client(server.url).tokens()) == 2
        assert elsewhere.asked == []
        assert server.asked[1].path == "/api/v1/tokens/?cursor=x"

        fold = datarun({"id": 1, "number": 0})
        server.answers.extend([fold, Answer(302, b"", VERSION | {"Location": f"{elsewhere.url}blob"})])
        elsewhere.answers.append(Answer(200, b"a\n0.5\n", {"Content-Type": "text/csv"}))
        assert client(server.url).fold(1).predictions_as("csv") == b"a\n0.5\n"
        assert "Authorization" not in elsewhere.asked[0].headers
