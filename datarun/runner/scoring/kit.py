"""Scores of a RAMP kit: by its own `Predictions` and score types, put together as ramp-workflow 0.7 does it."""

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from rampwf import score_types
from rampwf.utils.combine import blend_on_fold, get_score_cv_bags

from datarun.contract.metrics import nearest

from . import Rows, ScoringError

_LONGEST = 500


class KitScoring:
    """See `Scoring`. `names` are those of the kit's score types, or of classes of ramp-workflow's.

    Raises
    ------
    ScoringError
        There is no score type of such a name.
    """

    def __init__(self, names: Sequence[str], problem: ModuleType) -> None:
        self._make = problem.Predictions
        self._score_types = {name: _score_type(name, problem) for name in names}

    def score(self, y: Any, predictions: Any, rows: Rows | None) -> dict[str, float]:
        truth, predicted = self._make(y_true=y, fold_is=rows), self._predicted(predictions, rows)
        return {
            name: _value(name, score_type, truth, predicted) for name, score_type in self._score_types.items()
        }

    def bag(self, y: Any, predictions: Sequence[Any], rows: Sequence[Rows] | None) -> dict[str, list[float]]:
        truth = self._make(y_true=y)
        given = [
            self._predicted(each, None if rows is None else rows[number])
            for number, each in enumerate(predictions)
        ]
        return {
            name: [float(value) for value in get_score_cv_bags(_Lenient(score_type), given, truth, rows)[1]]
            for name, score_type in self._score_types.items()
        }

    def select(self, y: Any, predictions: Sequence[Any], rows: Rows) -> list[int]:
        official = next(iter(self._score_types.values()))
        truth = self._make(y_true=y, fold_is=rows)
        given = [self._predicted(each, rows) for each in predictions]
        worst = math.inf if official.is_lower_the_better else -math.inf
        return [int(number) for number in blend_on_fold(given, truth, _Lenient(official, worst))]

    def combine(self, predictions: Sequence[Any], chosen: Sequence[int]) -> Any:
        given = [self._predicted(each, None) for each in predictions]
        return self._make.combine(given, list(chosen)).y_pred

    def _predicted(self, predictions: Any, rows: Rows | None) -> Any:
        try:
            return self._make(y_pred=predictions, fold_is=rows)
        except Exception as error:  # the organiser's code, which may raise anything
            raise ScoringError(_reason(error)) from error


class _Lenient:
    """A score type that gives `otherwise` where it can't score: of too few rows, or of one class, for example."""

    def __init__(self, score_type: Any, otherwise: float = math.nan) -> None:
        self._score_type, self._otherwise = score_type, otherwise
        self.is_lower_the_better = score_type.is_lower_the_better

    def score_function(self, truth: Any, predicted: Any) -> float:
        try:
            return _value("", self._score_type, truth, predicted)
        except ScoringError:
            return self._otherwise


def _value(name: str, score_type: Any, truth: Any, predicted: Any) -> float:
    try:
        return float(score_type.score_function(truth, predicted))
    except Exception as error:  # the organiser's code, which may raise anything
        raise ScoringError(f"{name} can't score them: {_reason(error)}") from error


def _score_type(name: str, problem: ModuleType) -> Any:
    own = {str(score_type.name): score_type for score_type in problem.score_types}
    if name in own:
        return own[name]
    found = getattr(score_types, name, None)
    if not (isinstance(found, type) and issubclass(found, score_types.BaseScoreType)):
        raise ScoringError(f"Unknown metric {name!r}{nearest(name, [*own, *score_types.__all__])}")
    try:
        return found()
    except TypeError as error:
        raise ScoringError(f"The score type {name} needs arguments: add it to problem.py.") from error


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return (text.splitlines()[0] if text else type(error).__name__)[:_LONGEST]
