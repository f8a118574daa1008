"""Cutting a data set's folds: scikit-learn's own, to the row; and what is found wrong with folds and metrics early."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.model_selection
from sklearn.model_selection import train_test_split

from datarun.contract.messages import CrossValidation, Data, FoldRows, Outcome, PrepareOrder
from tests.bench import ROOM, TOY, Bench, succeeded

IRIS = Path(__file__).parents[2] / "test_files" / "iris" / "iris.csv"
TABLE = pd.read_csv(IRIS)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench.serving(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


def prepare(
    bench: Bench, table: pd.DataFrame, cv: CrossValidation, *metrics: str, target: str = "species"
) -> Outcome:
    data = Data(bench.files({"data.csv": table.to_csv(index=False)}), target)
    element = "classifier" if target == "species" else "regressor"
    order = PrepareOrder("job", 1, data, ROOM, 0.2, 42, elements=(element,), cv=cv, metrics=metrics)
    return bench.run(order)


def folds_of(bench: Bench, outcome: Outcome) -> list[tuple[list[int], list[int]]]:
    return [
        (
            bench.rows(outcome.blobs[f"cv/{number}/train_is"]).tolist(),
            bench.rows(outcome.blobs[f"cv/{number}/test_is"]).tolist(),
        )
        for number in range(outcome.counts["n_folds"])
    ]


@pytest.mark.parametrize(
    ("splitter", "parameters", "groups"),
    [
        ("KFold", {"n_splits": 3, "shuffle": True, "random_state": 1}, None),
        ("StratifiedKFold", {"n_splits": 4}, None),
        ("GroupKFold", {"n_splits": 2}, "garden"),
        ("TimeSeriesSplit", {"n_splits": 3}, None),
        ("ShuffleSplit", {"n_splits": 2, "test_size": 0.3, "random_state": 57}, None),
        ("StratifiedShuffleSplit", {"n_splits": 2, "random_state": 0}, None),
        ("LeaveOneGroupOut", {}, "garden"),
    ],
)
def test_folds_are_those_of_scikit_learn(
    bench: Bench, splitter: str, parameters: dict[str, Any], groups: str | None
) -> None:
    table = TABLE.assign(garden=[f"garden {number % 7}" for number in range(len(TABLE))])
    outcome = succeeded(prepare(bench, table, CrossValidation(splitter, parameters, groups)))
    train, _ = train_test_split(table, test_size=0.2, random_state=42)
    made = getattr(sklearn.model_selection, splitter)(**parameters)
    split = made.split(train, train["species"], None if groups is None else train[groups])
    assert folds_of(bench, outcome) == [(a.tolist(), b.tolist()) for a, b in split]


def test_given_folds_are_taken_as_they_are(bench: Bench) -> None:
    given = [(np.arange(100), np.arange(100, 120)), (np.arange(60, 120), np.arange(60))]
    cv = CrossValidation(folds=tuple(FoldRows(bench.indices(a), bench.indices(b)) for a, b in given))
    outcome = succeeded(prepare(bench, TABLE, cv, "accuracy"))
    assert folds_of(bench, outcome) == [(a.tolist(), b.tolist()) for a, b in given]


def test_a_custom_module_s_data_set_is_cut_by_its_labels(bench: Bench) -> None:
    data = Data(bench.files({"toy.py": TOY}), "y", module="toy.py")
    cv = CrossValidation("StratifiedKFold", {"n_splits": 2})
    outcome = succeeded(bench.run(PrepareOrder("job", 1, data, ROOM, cv=cv, metrics=("accuracy",))))
    expected = sklearn.model_selection.StratifiedKFold(2).split(np.zeros(8), [0, 1] * 4)
    assert folds_of(bench, outcome) == [(a.tolist(), b.tolist()) for a, b in expected]


@pytest.mark.parametrize(
    ("cv", "metrics", "words"),
    [
        (CrossValidation("KFold", {"n_splits": 121}), (), ("n_splits=121", "120")),
        (CrossValidation("GroupKFold", {}, "garden"), (), ("no column 'garden'",)),
        (CrossValidation("LeavePOut", {"p": 2}), (), ("more than 1000 folds",)),
        (CrossValidation("StratifiedKFold"), ("roc_auc",), ("valid", "roc_auc", "roc_auc_ovr")),
        (CrossValidation("StratifiedKFold"), ("f1",), ("f1", "f1_macro")),
        (CrossValidation("StratifiedKFold"), ("BrierScore",), ("BrierScore",)),
    ],
)
def test_what_can_not_work_fails_with_the_data(
    bench: Bench, cv: CrossValidation, metrics: tuple[str, ...], words: tuple[str, ...]
) -> None:
    outcome = prepare(bench, TABLE, cv, *metrics)
    assert outcome.failure == "data", outcome
    assert all(word in outcome.message for word in words), outcome.message
    assert "datarun/" not in outcome.message


@pytest.mark.parametrize(
    ("fold", "words"),
    [
        ((np.arange(10), np.arange(119, 121)), ("Fold 1", "row 120", "120 rows")),
        ((np.arange(10), np.arange(0)), ("Fold 1", "no rows to validate on")),
        (("setosa only", np.arange(20)), ("Fold 1", "without class", "StratifiedKFold")),
    ],
)
def test_a_fold_that_can_not_be_used_is_named(
    bench: Bench, fold: tuple[Any, Any], words: tuple[str, ...]
) -> None:
    train, _ = train_test_split(TABLE, test_size=0.2, random_state=42)
    rows = [np.flatnonzero(train["species"] == "setosa") if isinstance(part, str) else part for part in fold]
    good = FoldRows(bench.indices(np.arange(100)), bench.indices(np.arange(100, 120)))
    cv = CrossValidation(folds=(good, FoldRows(*map(bench.indices, rows))))
    outcome = prepare(bench, TABLE, cv, "accuracy")
    assert outcome.failure == "data", outcome
    assert all(word in outcome.message for word in words), outcome.message


def test_a_metric_of_numbers_does_not_fit_text(bench: Bench) -> None:
    outcome = prepare(bench, TABLE, CrossValidation("KFold"), "r2")
    assert outcome.failure == "data"
    assert "r2" in outcome.message
