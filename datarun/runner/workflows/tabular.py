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


class TabularWorkflow:
    """See `Workflow`. Without a feature extractor X goes to the predictor as ``np.array``."""

    def __init__(
        self,
        package: str,
        elements: Sequence[str],
        y: NDArray[Any],
        X_train: pd.DataFrame,
        X_test: pd.DataFrame,
    ) -> None:
        """`y` has the labels of the rows to train on, in their order, and of no others."""
        self._X_train, self._X_test, self._y = X_train, X_test, y
        self._elements, self._package = elements, package
        self.n_train, self.n_test = len(X_train), len(X_test)

    def train(self, train_is: NDArray[np.int64]) -> dict[str, Any]:
        model: dict[str, Any] = {}
        X, y = self._X_train.iloc[train_is], self._y
        if "feature_extractor" in self._elements:
            model["feature_extractor"] = make("feature_extractor", self._package)
            model["feature_extractor"].fit(X, y)
        features = self._features(model, X)
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

    def _predict(self, model: dict[str, Any], X: pd.DataFrame) -> Any:
        features = self._features(model, X)
        if "regressor" in model:
            return model["regressor"].predict(features)
        probabilities = model["classifier"].predict_proba(features)
        if "calibrator" in model:
            return model["calibrator"].predict_proba(probabilities)
        return probabilities

    @staticmethod
    def _features(model: dict[str, Any], X: pd.DataFrame) -> Any:
        extractor = model.get("feature_extractor")
        return np.array(X) if extractor is None else extractor.transform(X)


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
        return Loaded((X_train, X_test), len(X_train), len(X_test), builtin.encode_labels(y_train, y_test))

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
