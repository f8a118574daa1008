"""Scores of a submission's folds together (bagging), and of submissions together (blending).

Written on `Scoring` alone: what a metric is, and how predictions are combined, is the data set's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import Labels, Rows, Scoring, ScoringError

Scores = dict[str, dict[str, float]]


@dataclass(frozen=True)
class FoldPredictions:
    """What one submission predicted in one fold, of the whole train part and of the test part if there is one."""

    submission: int
    fold: int
    train: Any
    test: Any = None


def score_fold(
    scoring: Scoring, labels: Labels, predicted: FoldPredictions, train_is: Rows, test_is: Rows
) -> Scores:
    """Part → metric → value."""
    parts: dict[str, tuple[Any, Any, Rows | None]] = {
        "train": (labels.train, predicted.train, train_is),
        "valid": (labels.train, predicted.train, test_is),
    }
    if labels.test is not None and predicted.test is not None:
        parts["test"] = (labels.test, predicted.test, None)
    return {part: _score(scoring, part, *given) for part, given in parts.items()}


def _score(scoring: Scoring, part: str, y: Any, predictions: Any, rows: Rows | None) -> dict[str, float]:
    try:
        return scoring.score(y, predictions, rows)
    except ScoringError as error:
        raise ScoringError(f"The predictions of the {part} part: {error}") from error


def bag(
    scoring: Scoring,
    labels: Labels,
    predicted: Sequence[FoldPredictions],
    folds: Sequence[tuple[Rows, Rows]],
) -> dict[str, Any]:
    """Fold scores, and those of the first n folds combined: see `datarun.contract.messages.EnsembleOrder`."""
    scores = {each.fold: score_fold(scoring, labels, each, *folds[each.fold]) for each in predicted}
    return {"scores": scores, "bagged": _bagged(scoring, labels, predicted, folds)}


def _bagged(
    scoring: Scoring,
    labels: Labels,
    predicted: Sequence[FoldPredictions],
    folds: Sequence[tuple[Rows, Rows]],
) -> dict[str, dict[str, list[float]]]:
    valid_rows = [folds[each.fold][1] for each in predicted]
    bagged = {"valid": scoring.bag(labels.train, [each.train for each in predicted], valid_rows)}
    if labels.test is not None and all(each.test is not None for each in predicted):
        bagged["test"] = scoring.bag(labels.test, [each.test for each in predicted], None)
    return bagged


def blend(
    scoring: Scoring,
    labels: Labels,
    predicted: Sequence[FoldPredictions],
    folds: Sequence[tuple[Rows, Rows]],
) -> dict[str, Any]:
    """Contributivity of each submission, and scores of the ensemble: see `EnsembleOrder`."""
    contributivity = dict.fromkeys((each.submission for each in predicted), 0.0)
    combined = []
    by_fold: dict[int, list[FoldPredictions]] = {}
    for each in predicted:
        by_fold.setdefault(each.fold, []).append(each)
    for fold, theirs in sorted(by_fold.items()):
        trains, tests = [each.train for each in theirs], [each.test for each in theirs]
        chosen = scoring.select(labels.train, trains, folds[fold][1])
        for position in chosen:
            contributivity[theirs[position].submission] += 1 / len(chosen) / len(by_fold)
        test = None if any(test is None for test in tests) else scoring.combine(tests, chosen)
        combined.append(FoldPredictions(0, fold, scoring.combine(trains, chosen), test))
    bagged = _bagged(scoring, labels, combined, folds)
    last = {part: {name: values[-1] for name, values in of.items()} for part, of in bagged.items()}
    return {"contributivity": contributivity, "bagged": last}
