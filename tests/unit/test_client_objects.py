"""Scores, predictions and leaderboards as data scientists want them, with pandas and numpy and without."""

import io
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from datarun import Client
from datarun.client import Submission
from tests.scripted import VERSION, Answer, Asked, Scripted, datarun, problem, scripted

SCORES = {"valid": {"accuracy": {"mean": 0.75, "std": 0.25, "bagged": 0.9}}}
SUBMISSION = {
    "id": 7,
    "name": "<b>forest</b>",
    "dataset": "iris",
    "user": "me",
    "state": "scored",
    "folds": {"done": 2, "failed": 0, "running": 0, "waiting": 0, "total": 2},
    "scores": SCORES,
    "waiting": None,
    "failure": None,
    "created_at": "2026-01-02T03:04:05Z",
}
PREDICTED = {10: np.array([[0.25, 0.75], [1.0, 0.0]]), 11: np.array([[0.5, 0.5], [0.1, 0.9]])}


def _files(values: np.ndarray[Any, Any]) -> dict[str, Answer]:
    np.save(buffer := io.BytesIO(), values)
    text = pd.DataFrame(values, columns=["a", "b"]).to_csv(index=False)
    return {
        "npy": Answer(200, buffer.getvalue(), VERSION | {"Content-Type": "application/octet-stream"}),
        "csv": Answer(200, text.encode(), VERSION | {"Content-Type": "text/csv"}),
    }


FILES = {(id, form): answer for id, values in PREDICTED.items() for form, answer in _files(values).items()}


def fold(number: int) -> dict[str, Any]:
    scores = {"valid": {"accuracy": 0.5 + number / 2}, "train": {"accuracy": 1.0}}
    return {
        "id": 10 + number,
        "number": number,
        "submission": 7,
        "state": "done",
        "stage": "validated",
        "failure": None,
        "message": "",
        "scores": scores,
        "times": {},
        "runner": "r1",
        "waiting": None,
    }


def script(asked: Asked) -> Answer:
    path, _, query = asked.path.removeprefix("/api/v1/").partition("?")
    if path == "submissions/7/":
        return datarun(SUBMISSION)
    if path == "submissions/7/folds/":
        return datarun({"results": [fold(0), fold(1)], "next": None, "previous": None})
    if path.endswith("predictions/test"):
        return FILES[int(path.split("/")[1]), query.removeprefix("format=")]
    if path.endswith("predictions/train"):
        return datarun([[[1, 2.5]], None])
    return problem(404, "not-found", path)


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as server:
        server.script = script
        yield server


@pytest.fixture
def submission(server: Scripted) -> Submission:
    return Client(server.url, "token").submission(7)


@pytest.fixture
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither pandas nor numpy can be imported."""
    for name in ("pandas", "numpy"):
        monkeypatch.setitem(sys.modules, name, None)


def test_scores_are_a_table_of_folds_and_parts(submission: Submission) -> None:
    scores = submission.scores()
    assert list(scores.columns) == ["fold", "part", "accuracy"]
    assert scores[scores["part"] == "valid"]["accuracy"].tolist() == [0.5, 1.0]
    summary = submission.summary()
    assert summary.to_dict("records") == [
        {"part": "valid", "metric": "accuracy", **SCORES["valid"]["accuracy"]}
    ]


@pytest.mark.usefixtures("_light")
def test_without_pandas_they_are_rows(submission: Submission) -> None:
    assert submission.scores()[1] == {"fold": 0, "part": "valid", "accuracy": 0.5}


def test_predictions_of_all_folds_are_one_array(submission: Submission) -> None:
    assert submission.predictions("test").shape == (2, 2, 2)
    assert np.array_equal(submission.predictions("test")[1], PREDICTED[11])


@pytest.mark.usefixtures("_light")
def test_without_numpy_they_are_lists(submission: Submission) -> None:
    assert submission.predictions("test") == [each.tolist() for each in PREDICTED.values()]


def test_ragged_predictions_are_lists(submission: Submission) -> None:
    assert submission.folds()[0].predictions("train") == [[[1, 2.5]], None]


def test_notebooks_show_names_as_text(submission: Submission) -> None:
    shown = submission._repr_html_()
    assert "&lt;b&gt;forest&lt;/b&gt;" in shown
    assert "<b>" not in shown
    assert "0.9" in shown


def test_a_submission_says_what_it_is(submission: Submission) -> None:
    assert repr(submission) == "<Submission 7 '<b>forest</b>' to 'iris': scored, 2 of 2 folds done>"
