"""scikit-learn's scorers, and RAMP's score types, for csv data sets and custom modules.

Predictions are probabilities, (rows, classes) with the classes of the train part in sorted order, or values,
(rows,) or (rows, targets). Combined, they are averaged.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer

from datarun.contract import metrics
from datarun.contract.metrics import Task

from . import Rows, ScoringError

_MOST = 80  # predictions in an ensemble, as RAMP has it
_LONGEST = 500

_Metric = Callable[[NDArray[Any], NDArray[Any]], float]


class BuiltIn:
    """See `Scoring`. `y_train` are the labels of the whole train part: they name the classes."""

    def __init__(self, names: Sequence[str], y_train: NDArray[Any]) -> None:
        self._names, self._y_train = names, y_train
        self._lower = metrics.lower_is_better(names[0]) if names else False
        self._metrics: dict[str, _Metric] = {name: self._metric(name) for name in names}

    def score(self, y: NDArray[Any], predictions: NDArray[Any], rows: Rows | None) -> dict[str, float]:
        if rows is not None:
            y, predictions = y[rows], predictions[rows]
        return {name: self._value(name, y, predictions) for name in self._names}

    def bag(
        self, y: NDArray[Any], predictions: Sequence[NDArray[Any]], rows: Sequence[Rows] | None
    ) -> dict[str, list[float]]:
        total = np.zeros_like(predictions[0], dtype=np.float64)
        number = np.zeros(len(total), dtype=np.int64)
        values: dict[str, list[float]] = {name: [] for name in self._names}
        for position, predicted in enumerate(predictions):
            counted = slice(None) if rows is None else rows[position]
            total[counted] += predicted[counted]
            number[counted] += 1
            seen = np.flatnonzero(number)
            mean = total[seen] / number[seen].reshape(-1, *[1] * (total.ndim - 1))
            for name in self._names:
                values[name].append(self._value_or_nan(name, y[seen], mean))
        return values

    def select(self, y: NDArray[Any], predictions: Sequence[NDArray[Any]], rows: Rows) -> list[int]:
        name, sign = self._names[0], -1.0 if self._lower else 1.0
        y, cut = y[rows], [predicted[rows] for predicted in predictions]

        def worth(values: NDArray[Any]) -> float:
            value = sign * self._value_or_nan(name, y, values)
            return -math.inf if math.isnan(value) else value

        chosen: list[int] = []
        total, best = np.zeros_like(cut[0], dtype=np.float64), -math.inf
        while len(chosen) < _MOST:
            worths = [worth((total + predicted) / (len(chosen) + 1)) for predicted in cut]
            position = int(np.argmax(worths))
            if chosen and not worths[position] > best:
                break
            chosen.append(position)
            total, best = total + cut[position], worths[position]
        return chosen

    def combine(self, predictions: Sequence[NDArray[Any]], chosen: Sequence[int]) -> NDArray[np.float64]:
        mean: NDArray[np.float64] = np.mean([predictions[position] for position in chosen], axis=0)
        return mean

    # --- metrics -------------------------------------------------------------------------------------

    def _value(self, name: str, y: NDArray[Any], predictions: NDArray[Any]) -> float:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # of metrics that are not defined on these rows: those are NaN
                return float(self._metrics[name](y, predictions))
        except (ValueError, TypeError, IndexError) as error:
            reason = str(error).strip().splitlines()[0][:_LONGEST] if str(error) else type(error).__name__
            raise ScoringError(f"{name} can't score them: {reason}") from error

    def _value_or_nan(self, name: str, y: NDArray[Any], predictions: NDArray[Any]) -> float:
        """NaN where the rows seen so far don't suffice, of one class for example."""
        try:
            return self._value(name, y, predictions)
        except ScoringError:
            return math.nan

    def _metric(self, name: str) -> _Metric:
        if name in metrics.SCORE_TYPES:
            return self._score_type(name)
        scorer = get_scorer(name)
        given = _Regressor if metrics.SCORERS[name] == Task.REGRESSION else _Classified(self.classes)
        return lambda y, predictions: scorer(given(predictions), np.arange(len(y)), y)

    def _score_type(self, name: str) -> _Metric:
        import rampwf  # takes a second, and few need it

        score_type = getattr(rampwf.score_types, name)()
        if metrics.SCORE_TYPES[name][0] == Task.REGRESSION:
            make = rampwf.prediction_types.make_regression()
        else:
            make = rampwf.prediction_types.make_multiclass(label_names=list(self.classes))
        return lambda y, predictions: score_type.score_function(make(y_true=y), make(y_pred=predictions))

    @property
    def classes(self) -> NDArray[Any]:
        return np.unique(self._y_train)


class _Classified:
    """Makes probabilities what scorers want: a classifier that has predicted them."""

    def __init__(self, classes: NDArray[Any]) -> None:
        self._classes = classes

    def __call__(self, probabilities: NDArray[Any]) -> "_Classifier":
        if probabilities.ndim != 2 or probabilities.shape[1] != len(self._classes):
            raise ScoringError(
                f"Probabilities of {len(self._classes)} classes are wanted, (rows, {len(self._classes)}): "
                f"these are of shape {probabilities.shape}."
            )
        return _Classifier(self._classes, probabilities)


class _Classifier(ClassifierMixin, BaseEstimator):
    def __init__(self, classes: NDArray[Any], probabilities: NDArray[Any]) -> None:
        self.classes_, self._probabilities = classes, probabilities

    def predict(self, rows: Rows) -> NDArray[Any]:
        labels: NDArray[Any] = self.classes_[np.argmax(self._probabilities[rows], axis=1)]
        return labels

    def predict_proba(self, rows: Rows) -> NDArray[Any]:
        return self._probabilities[rows]


class _Regressor(RegressorMixin, BaseEstimator):
    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values

    def predict(self, rows: Rows) -> NDArray[Any]:
        return self._values[rows]
