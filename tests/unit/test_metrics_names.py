"""Metrics and splitters by name: those that scikit-learn and ramp-workflow have, and a hint where a name is wrong."""

import inspect

import pytest
import rampwf
import sklearn.model_selection
from sklearn.metrics import get_scorer_names

from datarun.contract import metrics, splitters
from datarun.contract.metrics import Task


def test_scorers_exist() -> None:
    assert set(metrics.SCORERS) <= set(get_scorer_names())


@pytest.mark.parametrize("name", metrics.SCORE_TYPES)
def test_score_types_exist_without_arguments_and_have_that_direction(name: str) -> None:
    score_type = getattr(rampwf.score_types, name)()
    assert score_type.is_lower_the_better == metrics.lower_is_better(name)


@pytest.mark.parametrize("name", splitters.SPLITTERS)
def test_splitters_have_these_parameters(name: str) -> None:
    signature = inspect.signature(getattr(sklearn.model_selection, name))
    assert set(signature.parameters) == splitters.SPLITTERS[name]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("acuracy", "accuracy"),
        ("log_loss", "neg_log_loss"),
        ("rmse", "RMSE"),
        ("roc-auc", "roc_auc"),
        ("root_mean_squared_error", "neg_root_mean_squared_error"),
    ],
)
def test_an_unknown_metric_is_answered_with_the_nearest(name: str, hint: str) -> None:
    assert hint in (metrics.problem(name, None) or "")


def test_a_metric_of_another_task_is_refused() -> None:
    assert "scores regression, this is classification" in (metrics.problem("r2", Task.CLASSIFICATION) or "")
    assert metrics.problem("accuracy", Task.CLASSIFICATION) is None


@pytest.mark.parametrize(
    ("splitter", "parameters", "groups", "field", "word"),
    [
        ("StratifedKFold", {}, None, "splitter", "StratifiedKFold"),
        ("KFold", {"n_split": 3}, None, "parameters", "n_splits"),
        ("KFold", {"n_splits": "3"}, None, "parameters", "whole number"),
        ("KFold", {"n_splits": 1}, None, "parameters", "at least 2"),
        ("KFold", {"n_splits": 11}, None, "parameters", "more than the 10 rows"),
        ("RepeatedKFold", {"n_splits": 5, "n_repeats": 500}, None, "parameters", "1000"),
        ("GroupKFold", {}, None, "groups", "column"),
        ("KFold", {}, "city", "groups", "no groups"),
    ],
)
def test_a_splitter_that_can_not_work_is_refused(
    splitter: str, parameters: dict[str, object], groups: str | None, field: str, word: str
) -> None:
    problem = splitters.problem(splitter, parameters, groups, rows=10)
    assert problem is not None
    assert problem[0] == field
    assert word in problem[1]


def test_a_splitter_that_works_is_not() -> None:
    assert splitters.problem("KFold", {"n_splits": 5, "shuffle": True, "random_state": 0}, None, 10) is None
