"""What may be tried again is, for a while; what may not happen twice does not."""

import pytest

from datarun.client import errors
from datarun.client.transport import Transport
from tests.scripted import DROPPED, Answer, datarun, page, problem, scripted

ME = {"username": "me"}
AWAY = page("<title>502 Bad Gateway</title>", 502)


def transport(url: str, patience: float = 20.0) -> Transport:
    return Transport(url, "token", patience=patience, first_pause=0.001)


@pytest.mark.parametrize("away", [AWAY, DROPPED, problem(503, "error", "Starting."), Answer(504)])
def test_a_platform_that_is_back_soon_is_not_noticed(away: Answer) -> None:
    with scripted(away, away, datarun(ME)) as server:
        assert transport(server.url).get("users/me/") == ME
        assert len(server.asked) == 3


def test_one_that_stays_away_is_given_up_with_its_reason() -> None:
    with scripted() as server:
        server.script = lambda _: AWAY
        with pytest.raises(errors.Unreachable, match="502"):
            transport(server.url, patience=0.05).get("users/me/")
        assert len(server.asked) > 1


def test_what_was_posted_twice_has_one_key() -> None:
    with scripted(DROPPED, datarun({"id": 1}, 201), datarun({"id": 2}, 201)) as server:
        sender = transport(server.url)
        assert sender.post("submissions/", {"name": "a"}) == {"id": 1}
        assert sender.post("submissions/", {"name": "a"}) == {"id": 2}
        first, again, other = (each.headers["Idempotency-Key"] for each in server.asked)
        assert first == again != other
        assert [each.json for each in server.asked] == [{"name": "a"}] * 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 500])
def test_what_would_be_refused_again_is_not_tried_again(status: int) -> None:
    with scripted(problem(status, "error", "No.")) as server:
        with pytest.raises(errors.DatarunError):
            transport(server.url).get("users/me/")
        assert len(server.asked) == 1


def test_a_short_pause_that_the_platform_asks_for_is_made() -> None:
    later = problem(429, "throttled", "Too often.", {"Retry-After": "0"})
    with scripted(later, datarun(ME)) as server:
        assert transport(server.url).get("users/me/") == ME


def test_a_long_one_is_the_user_s_to_make() -> None:
    with scripted(problem(429, "limit", "Tomorrow.", {"Retry-After": "80000"})) as server:
        with pytest.raises(errors.TryLater):
            transport(server.url).post("submissions/")
        assert len(server.asked) == 1


def test_what_has_not_changed_is_not_sent_again() -> None:
    unchanged = Answer(304, b"", {"Datarun-Version": "0.1.0", "ETag": '"1"'})
    with scripted(datarun(ME, ETag='"1"'), unchanged, datarun({"username": "you"}, ETag='"2"')) as server:
        reader = transport(server.url)
        first, second, third = (reader.get("users/me/") for _ in range(3))
        assert first is second
        assert third == {"username": "you"}
        assert "If-None-Match" not in server.asked[0].headers
        assert server.asked[1].headers["If-None-Match"] == server.asked[2].headers["If-None-Match"] == '"1"'


def test_a_token_is_sent_as_such_and_a_password_only_to_log_in() -> None:
    with scripted(datarun(ME), datarun({"id": 1, "token": "new"}, 201)) as server:
        sender = transport(server.url)
        sender.get("users/me/")
        sender.post("tokens/", {"name": "mine"}, auth=("zoë", "pässword"))
        assert server.asked[0].headers["Authorization"] == "Token token"
        assert server.asked[1].headers["Authorization"].startswith("Basic ")
