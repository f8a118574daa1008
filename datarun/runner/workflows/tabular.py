"""The built-in workflow: a csv, and feature extractor, classifier or regressor, calibrator."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datarun.contract.elements import ELEMENT_CLASSES
from datarun.runner import predictions
from datarun.runner.sandbox import labels
from datarun.runner.sandbox.task import Task
from datarun.runner.scoring import Labels, Scoring

from . import Loaded, Prepared, Warm, builtin


class SubmissionError(Exception):
    """A submission's file lacks what its workflow element must define."""


def make(element: str, package: str) -> Any:
    """An instance of the class that the submission's `<element>.py` defines."""
    module = import_module(f".{element}", package)
    name = ELEMENT_CLASSES[element]
    if not hasattr(module, name):
        raise SubmissionError(f"{element}.py defines no class {name}.")
    return getattr(module, name)()


def load(
    csv: Path, target_column: str, train_rows: NDArray[np.int64], test_rows: NDArray[np.int64]
) -> tuple[pd.DataFrame, pd.DataFrame, NDArray[Any], NDArray[Any]]:
    """X of the train part and of the test part, and y of both."""
    table = pd.read_csv(csv)
    y = np.array(table.pop(target_column))
    X_train, X_test = (table.iloc[rows].reset_index(drop=True) for rows in (train_rows, test_rows))
    return X_train, X_test, y[train_rows], y[test_rows]


class Table:
    """X of one part: a data frame, and how it looks as an array.

    Where all columns are of one type, that shares the frame's memory: pandas itself takes much of a small fold's time.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        types = set(frame.dtypes)
        self._values: NDArray[Any] | None = None
        if len(types) == 1 and isinstance(types.pop(), np.dtype):
            self._values = frame.to_numpy()

    def __reduce__(self) -> Any:
        return Table, (self.frame,)

    def __len__(self) -> int:
        return len(self.frame)

    def array(self) -> NDArray[Any]:
        """``np.array(frame)``"""
        return np.array(self.frame if self._values is None else self._values)

    def array_of(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """``np.array(frame.iloc[rows])``, laid out like that: whole rows or whole columns together, as the frame is."""
        values = self._values
        if values is None:
            return np.array(self.frame.iloc[rows])
        by_row = values.flags.c_contiguous
        return values.take(rows, axis=0) if by_row else values.T.take(rows, axis=1).T


class TabularWorkflow:
    """See `Workflow`. Without a feature extractor X goes to the predictor as ``np.array``."""

    def __init__(
        self,
        package: str,
        elements: Sequence[str],
        y: NDArray[Any],
        X_train: Table,
        X_test: Table,
    ) -> None:
        """`y` has the labels of the rows to train on, in their order, and of no others."""
        self._X_train, self._X_test, self._y = X_train, X_test, y
        self._elements, self._package = elements, package
        self.n_train, self.n_test = len(X_train), len(X_test)

    def train(self, train_is: NDArray[np.int64]) -> dict[str, Any]:
        model: dict[str, Any] = {}
        y = self._y
        if "feature_extractor" in self._elements:
            X = self._X_train.frame.iloc[train_is]
            model["feature_extractor"] = make("feature_extractor", self._package)
            model["feature_extractor"].fit(X, y)
            features = model["feature_extractor"].transform(X)
        else:
            features = self._X_train.array_of(train_is)
        if "regressor" in self._elements:
            model["regressor"] = make("regressor", self._package)
            model["regressor"].fit(features, y)
        elif "calibrator" in self._elements:
            self._train_calibrated(model, features, y)
        else:
            model["classifier"] = make("classifier", self._package)
            model["classifier"].fit(features, y)
        return model

    def _train_calibrated(self, model: dict[str, Any], features: Any, y: NDArray[Any]) -> None:
        """The classifier on 90 % of the rows, the calibrator on its probabilities for the other 10 %."""
        from sklearn.model_selection import StratifiedShuffleSplit  # which few folds need, and takes a second

        cut = StratifiedShuffleSplit(n_splits=1, test_size=0.1, random_state=57)
        ((fit_is, calibrate_is),) = cut.split(features, y)
        model["classifier"] = make("classifier", self._package)
        model["classifier"].fit(features[fit_is], y[fit_is])
        probabilities = model["classifier"].predict_proba(features[calibrate_is])
        model["calibrator"] = make("calibrator", self._package)
        model["calibrator"].fit(probabilities, y[calibrate_is])

    def predict_train(self, model: dict[str, Any]) -> Any:
        return self._predict(model, self._X_train)

    def predict_test(self, model: dict[str, Any]) -> Any:
        return self._predict(model, self._X_test)

    @staticmethod
    def _predict(model: dict[str, Any], X: Table) -> Any:
        extractor = model.get("feature_extractor")
        features = X.array() if extractor is None else extractor.transform(X.frame)
        if "regressor" in model:
            return model["regressor"].predict(features)
        probabilities = model["classifier"].predict_proba(features)
        if "calibrator" in model:
            return model["calibrator"].predict_proba(probabilities)
        return probabilities


class Tabular:
    """See `DataSet`."""

    def prepare(self, task: Task, source: Path) -> Prepared:
        from .preparation import split_csv  # few processes prepare, and scikit-learn takes a second

        assert task.held_out_test is not None
        assert task.random_state is not None
        groups = task.cv["groups"] if task.cv else None
        split = split_csv(source, task.target_column, task.held_out_test, task.random_state, groups)
        rows = {"train_rows": split.train, "test_rows": split.test}
        folds = builtin.cut_folds(task, split.y_train, split.y_test, split.groups)
        return Prepared(len(split.train), len(split.test), rows, folds)

    def load(self, task: Task, source: Path) -> Loaded:
        rows = (task.indices("train_rows"), task.indices("test_rows"))
        X_train, X_test, y_train, y_test = load(source, task.target_column, *rows)
        return Loaded(
            (Table(X_train), Table(X_test)), len(X_train), len(X_test), builtin.encode_labels(y_train, y_test)
        )

    def take_over(self, source: Path) -> None:
        """There is no module."""

    def workflow(self, task: Task, submission: Path, warm: Warm) -> TabularWorkflow:
        y = labels.loads(task.arrays["y"])
        return TabularWorkflow(submission.name, task.elements, y, *warm.prepared)

    def check(self, values: Any, rows: int, part: str) -> NDArray[np.float64]:
        return predictions.check(values, rows, part)

    def scoring(self, task: Task, warm: Warm) -> tuple[Scoring, Labels]:
        return builtin.scoring(task)


DATA_SET = Tabular()
