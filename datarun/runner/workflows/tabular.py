"""The built-in workflow: a csv, and feature extractor, classifier or regressor, calibrator."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedShuffleSplit

from datarun.contract.elements import ELEMENT_CLASSES


class SubmissionError(Exception):
    """A submission's file lacks what its workflow element must define."""


def make(element: str, package: str) -> Any:
    """An instance of the class that the submission's `<element>.py` defines."""
    module = import_module(f".{element}", package)
    name = ELEMENT_CLASSES[element]
    if not hasattr(module, name):
        raise SubmissionError(f"{element}.py defines no class {name}.")
    return getattr(module, name)()


class TabularWorkflow:
    """See `Workflow`. Without a feature extractor X goes to the predictor as ``np.array``."""

    def __init__(
        self,
        csv: Path,
        target_column: str,
        rows: tuple[NDArray[np.int64], NDArray[np.int64]],
        elements: Sequence[str],
        package: str,
    ) -> None:
        self._csv, self._target_column, self._rows = csv, target_column, rows
        self._elements, self._package = elements, package
        self.n_train, self.n_test = (len(part) for part in rows)

    def load(self) -> None:
        table = pd.read_csv(self._csv)
        y = np.array(table.pop(self._target_column))
        train, test = self._rows
        self._X_train = table.iloc[train].reset_index(drop=True)
        self._X_test = table.iloc[test].reset_index(drop=True)
        self._y_train = y[train]

    def train(self, train_is: NDArray[np.int64]) -> dict[str, Any]:
        model: dict[str, Any] = {}
        X, y = self._X_train.iloc[train_is], self._y_train[train_is]
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
