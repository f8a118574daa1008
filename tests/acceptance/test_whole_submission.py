"""A submission from its files to the leaderboard, on a real runner: equal to scikit-learn by hand, to the last bit."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, train_test_split

from test_files import post_api
from test_files.iris.classifier import Classifier

from .platform import CHECKOUT, PASSWORD, USER, Platform, wait_until

IRIS = CHECKOUT / "test_files" / "iris"
CV = {"splitter": "StratifiedKFold", "parameters": {"n_splits": 3, "shuffle": True, "random_state": 7}}


def test_iris_from_files_to_the_leaderboard(platform: Platform) -> None:
    platform.set_up({"one": "L,H,celery", "two": "L"})
    who = (platform.url, USER, PASSWORD)
    posted = post_api.post_data(
        *who, "iris", "species", "classifier", IRIS / "iris.csv", cv=CV, metrics=["accuracy", "neg_log_loss"]
    )
    data = posted.json()["id"]
    early = _submit(who, IRIS / "classifier.py", "early")
    assert post_api.post_split(*who, 0.5, data).ok
    late = _submit(who, IRIS / "other" / "classifier.py", "late")

    board = wait_until(lambda: _blended(who, data), 120, "a leaderboard with bagged and blended scores")
    assert {row["id"] for row in board["submissions"]} == {early, late}
    assert [row["rank"] for row in board["submissions"]] in ([1, 2], [1, 1])
    assert sum(row["contributivity"] for row in board["submissions"]) == 1

    shown = post_api.get_submission(*who, early).json()
    expected = _by_hand()
    assert [fold["scores"]["valid"]["accuracy"] for fold in shown["folds"]] == expected
    valid = _score(shown, "accuracy", "valid")
    assert (valid["mean"], valid["std"]) == (float(np.mean(expected)), float(np.std(expected)))
    assert len(valid["curve"]) == 3
    assert _score(shown, "accuracy", "test")["folds"] == 3

    assert post_api.post_metrics(*who, data, ["balanced_accuracy"]).ok
    later = wait_until(
        lambda: _score(post_api.get_submission(*who, early).json(), "balanced_accuracy", "valid"),
        60,
        "scores by the new metric",
    )
    assert later["mean"] == np.mean(_by_hand(balanced_accuracy_score))
    assert all(len(platform.get(f"submissionfold/{fold['id']}/attempts/")) == 1 for fold in shown["folds"])


def test_a_kit_from_its_folder_to_the_leaderboard(platform: Platform) -> None:
    platform.set_up({"one": "L,H,celery"})
    who = (platform.url, USER, PASSWORD)
    kit = CHECKOUT / "tests" / "kits" / "classifier"
    said = platform.manage("post_kit", str(kit), "--name", "kit", "--submissions", "--user", USER)
    assert "Submitted starting_kit" in said
    (data,) = platform.get("rawdata/")
    rows = wait_until(lambda: _ended(who, data["id"]), 180, "a leaderboard with bagged and blended scores")
    assert {"starting_kit", "forest", "neighbours"} <= {row["name"] for row in rows if row["rank"]}
    reasons = {row["name"]: row["why"] for row in rows if row["rank"] is None}
    assert {"fails_to_train", "fails_to_test", "forbidden"} <= set(reasons)
    assert all("folds failed: user_error" in reasons[name] for name in ("fails_to_train", "forbidden"))
    board = post_api.get_leaderboard(*who, data["id"]).json()
    fold = post_api.get_submission(*who, board["submissions"][0]["id"]).json()["folds"][0]
    assert platform.manage("replay", str(fold["id"])) == "The same to the last bit."
    assert "starting_kit" in platform.manage("leaderboard", "kit", "--private")


def _ended(who: tuple[str, str, str], data: int) -> list[dict[str, Any]] | None:
    """The rows, once each is bagged and blended or has failed."""
    rows: list[dict[str, Any]] = post_api.get_leaderboard(*who, data).json()["submissions"]
    over = (row["contributivity"] is not None if row["rank"] else row["failed"] > 0 for row in rows)
    return rows if all(over) else None


def _all_blended(who: tuple[str, str, str], data: int) -> dict[str, Any] | None:
    board: dict[str, Any] = post_api.get_leaderboard(*who, data).json()
    rows = board["submissions"]
    return (
        board
        if all(row["bagged"] is not None and row["contributivity"] is not None for row in rows)
        else None
    )


def _submit(who: tuple[str, str, str], file: Any, name: str) -> int:
    answer = post_api.post_submission(*who, "iris", [file], name)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def _blended(who: tuple[str, str, str], data: int) -> dict[str, Any] | None:
    board = _all_blended(who, data)
    return board if board and len(board["submissions"]) == 2 else None


def _score(shown: dict[str, Any], metric: str, part: str) -> dict[str, Any] | None:
    found = [each for each in shown["scores"] if (each["metric"], each["part"]) == (metric, part)]
    return found[0] if found and found[0]["folds"] == 3 else None


def _by_hand(metric: Any = accuracy_score) -> list[float]:
    """The score of each fold's validation rows."""
    table = pd.read_csv(IRIS / "iris.csv")
    train, _ = train_test_split(table, test_size=0.5, random_state=42)
    values, labels = train.drop(columns="species").to_numpy(), train["species"].to_numpy()
    scores = []
    for rows, test in StratifiedKFold(3, shuffle=True, random_state=7).split(values, labels):
        classifier = Classifier()
        classifier.fit(values[rows], labels[rows])
        best = classifier.predict_proba(values[test]).argmax(axis=1)
        scores.append(float(metric(labels[test], np.unique(labels)[best])))
    return scores
