"""The leaderboard: ranks by the official metric in its direction, what has none explained, test scores kept back."""

import csv
import io
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.integration.helpers import (
    Api,
    accepted,
    cut,
    fail,
    folds_of,
    organiser,
    post_scored,
    ready_scored,
    refused,
    score,
    split,
    submit,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def api() -> Api:
    return organiser()


def entry(api: Api, raw_data: int, name: str, *values: float, **changed: object) -> int:
    """Submits, and has as many folds scored as there are values."""
    submission = submit(api, raw_data, name, **changed)
    for fold, value in zip(folds_of(submission), values, strict=False):
        score(fold, value)
    return submission


def board(api: Api, raw_data: int, **query: str | float) -> dict[str, Any]:
    return accepted(api.ask(f"rawdata/{raw_data}/leaderboard/", **query), 200)


def ranks(api: Api, raw_data: int, **query: str | float) -> list[tuple[str, int | None]]:
    return [(row["name"], row["rank"]) for row in board(api, raw_data, **query)["submissions"]]


def test_the_best_comes_first_and_ties_share_a_rank(api: Api) -> None:
    raw_data = ready_scored(api)
    entry(api, raw_data, "good", 0.8, 0.8, 0.8)
    entry(api, raw_data, "best", 0.9, 0.9, 0.9)
    entry(api, raw_data, "as good", 0.8, 0.8, 0.8)
    entry(api, raw_data, "last", 0.1, 0.1, 0.1)
    assert ranks(api, raw_data) == [("best", 1), ("good", 2), ("as good", 2), ("last", 4)]
    assert ranks(api, raw_data, limit=2, offset=1) == [("good", 2), ("as good", 2)]
    assert board(api, raw_data, limit=1)["count"] == 4


def test_less_is_better_where_the_metric_says_so(api: Api) -> None:
    raw_data = post_scored(api, workflow_elements="regressor", metrics=["RMSE", "r2"])
    cut(split(api, raw_data))
    for name, value in (("far", 3.0), ("near", 1.0)):
        submission = submit(api, raw_data, name, files={"regressor.py": "eJwDAAAAAAE="})
        for fold in folds_of(submission):
            score(fold, scores={"valid": {"RMSE": value, "r2": 0.5}})
    assert ranks(api, raw_data) == [("near", 1), ("far", 2)]
    assert board(api, raw_data)["metrics"][0] == {"name": "RMSE", "lower_is_better": True}


def test_what_has_no_rank_comes_last_and_says_why(api: Api) -> None:
    raw_data = ready_scored(api)
    entry(api, raw_data, "complete", 0.1, 0.1, 0.1)
    entry(api, raw_data, "on its way", 0.9)
    failed = entry(api, raw_data, "failed", 0.9, 0.9)
    fail(str(folds_of(failed)[2].job_id), "user_error", "Traceback\nValueError: three")
    entry(api, raw_data, "no number", 0.5, float("nan"), 0.5)
    rows = {row["name"]: row for row in board(api, raw_data)["submissions"]}
    assert next(iter(rows)) == "complete"
    assert {name: row["rank"] for name, row in rows.items()} == dict.fromkeys(rows) | {"complete": 1}
    assert rows["on its way"]["why"] == "2 of 3 folds are still to come."
    assert "1 of 3 folds failed: user_error" in rows["failed"]["why"]
    assert "ValueError: three" in rows["failed"]["why"]
    assert rows["no number"]["why"] == "Its score is no number."
    assert (rows["failed"]["done"], rows["failed"]["failed"], rows["failed"]["folds"]) == (2, 1, 3)


def test_what_waits_for_its_data_set_is_there_with_the_reason(api: Api) -> None:
    raw_data = post_scored(api)
    submit(api, raw_data, "early")
    (row,) = board(api, raw_data)["submissions"]
    assert (row["rank"], row["folds"]) == (None, 0)
    assert "not been split" in row["why"]


def test_rows_tell_scores_times_and_who(api: Api) -> None:
    raw_data = ready_scored(api)
    submission = submit(api, raw_data, "first")
    for fold, seconds in zip(folds_of(submission), (1.0, 2.0, 3.0), strict=True):
        score(fold, 0.5, measures={"train_time": seconds, "test_time": seconds / 10})
    (row,) = board(api, raw_data)["submissions"]
    assert (row["id"], row["user"], row["mean"], row["std"]) == (submission, "organiser", 0.5, 0.0)
    assert (row["train_time"], row["test_time"]) == (2.0, pytest.approx(0.2))
    assert row["scores"]["neg_log_loss"]["valid"] == {"mean": -0.5, "std": 0.0, "bagged": None}


def test_test_scores_are_the_organisers_until_the_data_set_is_closed(api: Api) -> None:
    raw_data = ready_scored(api)
    submission = entry(api, raw_data, "first", 0.5, 0.5, 0.5)
    other = organiser("other")
    for who, parts in ((api, {"train", "valid", "test"}), (other, {"train", "valid"})):
        (row,) = board(who, raw_data)["submissions"]
        assert set(row["scores"]["accuracy"]) == parts
        shown = accepted(who.ask(f"submission/{submission}/"), 200)
        assert {each["part"] for each in shown["scores"]} == set(shown["folds"][0]["scores"]) == parts
    assert other.send(f"rawdata/{raw_data}/close/", {}).status_code == 403
    assert accepted(api.send(f"rawdata/{raw_data}/close/", {}), 200)["closed_at"]
    assert "test" in board(other, raw_data)["submissions"][0]["scores"]["accuracy"]
    accepted(api.send(f"rawdata/{raw_data}/open/", {}), 200)
    assert "test" not in board(other, raw_data)["submissions"][0]["scores"]["accuracy"]


def test_a_closed_data_set_takes_no_submissions_until_it_is_opened(api: Api) -> None:
    raw_data = ready_scored(api)
    accepted(api.send(f"rawdata/{raw_data}/close/", {}), 200)
    body = {"raw_data": raw_data, "files": {"classifier.py": "eJwDAAAAAAE="}}
    refused(api, "submission/", body, "raw_data", "closed")
    accepted(api.send(f"rawdata/{raw_data}/open/", {}), 200)
    accepted(api.send("submission/", body))


def test_history_of_a_user_the_latest_first_with_the_ranks_among_all(api: Api) -> None:
    raw_data = ready_scored(api)
    entry(organiser("ada"), raw_data, "old", 0.8, 0.8, 0.8)
    entry(api, raw_data, "of another", 0.7, 0.7, 0.7)
    entry(organiser("ada"), raw_data, "new", 0.6, 0.6, 0.6)
    assert ranks(organiser("ada"), raw_data, mine="true") == [("new", 3), ("old", 1)]
    assert ranks(api, raw_data, user="ada") == [("new", 3), ("old", 1)]
    assert ranks(api, raw_data, user="nobody") == []


@pytest.mark.parametrize("how", [{"format": "csv"}, {"HTTP_ACCEPT": "text/csv"}])
def test_as_csv_with_every_digit(api: Api, how: dict[str, str]) -> None:
    raw_data = ready_scored(api)
    entry(api, raw_data, "=HYPERLINK()", 0.1, 0.7, 1 / 3)
    query = {name: value for name, value in how.items() if name == "format"}
    headers = {name: value for name, value in how.items() if name != "format"}
    answer = api.get(f"/runapp/rawdata/{raw_data}/leaderboard/", query, **headers)
    assert answer.headers["Content-Type"].startswith("text/csv")
    (line,) = csv.DictReader(io.StringIO(answer.content.decode()))
    assert line["name"] == "'=HYPERLINK()"
    assert float(line["accuracy valid mean"]) == board(api, raw_data)["submissions"][0]["mean"]
    assert (line["rank"], line["user"], line["done"]) == ("1", "organiser", "3")


def test_an_empty_one_and_one_that_does_not_exist(api: Api) -> None:
    raw_data = ready_scored(api)
    assert board(api, raw_data)["submissions"] == []
    assert api.ask(f"rawdata/{raw_data + 1}/leaderboard/").status_code == 404
    answer = api.get(f"/runapp/rawdata/{raw_data + 1}/leaderboard/", {"format": "csv"})
    assert (answer.status_code, b"detail" in answer.content) == (404, True)


def test_it_costs_as_many_statements_for_many_as_for_few(api: Api) -> None:
    raw_data = ready_scored(api)
    numbers = []
    for size in (2, 10):
        for number in range(size):
            entry(api, raw_data, f"{size} {number}", 0.5, 0.5, 0.5)
        with CaptureQueriesContext(connection) as captured:
            board(api, raw_data)
        numbers.append(len(captured))
    assert numbers[0] == numbers[1]
