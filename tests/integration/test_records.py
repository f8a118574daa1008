"""A fold's record names all that its results depend on; a replay is compared with them and changes nothing."""

from typing import Any

import numpy as np
import pytest
from django.forms.models import model_to_dict

from runapp.models import Job, Prediction, Score, SubmissionFold
from runapp.services import blobs, orders
from tests.integration.helpers import (
    CODE,
    FACTS,
    Api,
    accepted,
    finish,
    folds_of,
    organiser,
    ready_scored,
    refused,
    score,
    start,
    submit,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def api() -> Api:
    return organiser()


@pytest.fixture
def fold(api: Api) -> SubmissionFold:
    first, *_ = folds_of(submit(api, ready_scored(api)))
    score(first)
    return first


def replayed(api: Api, fold: SubmissionFold, **changed: Any) -> dict[str, Any]:
    """A runner runs the fold once more, and gives the same as `score` unless something else is said."""
    task = accepted(api.send(f"submissionfold/{fold.pk}/replay/", {}))["task_id"]
    start(task)
    worth = {"train": 0.9, "valid": 0.75, "test": 0.7}
    outcome: dict[str, Any] = {
        "arrays": {"train": np.full((8, 2), 0.5), "test": np.full((2, 2), 0.5)},
        "scores": {part: {"accuracy": value, "neg_log_loss": value - 1} for part, value in worth.items()},
        "facts": FACTS,
    }
    finish(task, **outcome | changed)
    (latest, *_) = api.ask(f"submissionfold/{fold.pk}/replay/").json()
    return dict(latest["result"])


def test_the_record_names_all_that_results_depend_on(api: Api, fold: SubmissionFold) -> None:
    record = accepted(api.ask(f"submissionfold/{fold.pk}/record/"), 200)
    assert {name: record[name] for name in FACTS} == FACTS
    assert record["runner"] == "runner-1"
    assert record["code"] == {"classifier.py": blobs.put(CODE)}
    assert set(record["data_set"]["files"]) == {"flowers.csv"}
    assert set(record["data_set"]["prepared"]) == {"train_rows", "test_rows"}
    assert record["folds"] == {"train_is": fold.train_is_id, "test_is": fold.test_is_id}
    assert record["limits"]["wall"] > 0


def test_a_replay_is_the_same_order_but_for_the_job(api: Api, fold: SubmissionFold) -> None:
    task = accepted(api.send(f"submissionfold/{fold.pk}/replay/", {}))["task_id"]
    start(task)
    ((_, order),) = orders.build([Job.objects.get(pk=task).pk])
    assert order.job == task
    assert order.about == {"fold": fold.pk, "submission": fold.databoard_s_id}
    assert (order.train_is, order.test_is) == (fold.train_is_id, fold.test_is_id)


def test_a_replay_that_gives_the_same_says_so_and_changes_nothing(api: Api, fold: SubmissionFold) -> None:
    before = _results(fold)
    result = replayed(api, fold)
    assert (result["identical"], result["comparable"]) == (True, True)
    assert result["predictions"] == {"test": True, "train": True}
    assert result["summary"] == "The same to the last bit."
    assert _results(fold) == before


def test_another_bit_is_found(api: Api, fold: SubmissionFold) -> None:
    before = _results(fold)
    other = np.full((8, 2), 0.5)
    other[3, 1] = np.nextafter(0.5, 1)
    result = replayed(api, fold, arrays={"train": other, "test": np.full((2, 2), 0.5)})
    assert (result["identical"], result["comparable"]) == (False, True)
    assert result["predictions"] == {"test": True, "train": False}
    result = replayed(api, fold, scores={"valid": {"accuracy": float(np.nextafter(0.75, 1))}})
    (differs,) = result["scores"]
    assert (differs["part"], differs["metric"], differs["then"]) == ("valid", "accuracy", 0.75)
    assert not result["identical"]
    assert _results(fold) == before


def test_other_surroundings_are_named(api: Api, fold: SubmissionFold) -> None:
    elsewhere = FACTS | {"cpu": "another CPU", "versions": {"numpy": "2.4.0"}}
    result = replayed(api, fold, facts=elsewhere, arrays={"train": np.zeros(8), "test": np.zeros(2)})
    assert (result["identical"], result["comparable"]) == (False, False)
    assert result["differences"] == ["numpy 2.3.5 then, 2.4.0 now", "cpu a CPU then, another CPU now"]
    assert "in other surroundings" in result["summary"]


def test_a_replay_that_fails_says_why(api: Api, fold: SubmissionFold) -> None:
    task = accepted(api.send(f"submissionfold/{fold.pk}/replay/", {}))["task_id"]
    start(task)
    finish(task, failure="user_error", message="ValueError: now")
    (row,) = api.ask(f"submissionfold/{fold.pk}/replay/").json()
    assert (row["state"], row["failure"], row["result"]) == ("failed", "user_error", None)


def test_only_what_has_results_is_replayed(api: Api) -> None:
    first, *_ = folds_of(submit(api, ready_scored(api)))
    refused(api, f"submissionfold/{first.pk}/replay/", {}, "fold", "no results", "created")


def _results(fold: SubmissionFold) -> object:
    scores = sorted(Score.objects.filter(fold=fold).values_list("part", "metric", "value"))
    prediction = Prediction.objects.get(fold=fold)
    assert prediction.train is not None
    kept = SubmissionFold.objects.get(pk=fold.pk)
    return scores, bytes(prediction.train), model_to_dict(kept), model_to_dict(kept.job)
