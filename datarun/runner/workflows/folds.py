"""Cutting a data set's folds, and finding out early whether they and the metrics can be used at all."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import sklearn.model_selection
from numpy.typing import NDArray

from datarun.contract.metrics import SCORE_TYPES, SCORERS, Task
from datarun.contract.splitters import MOST_FOLDS
from datarun.runner.scoring import Rows, ScoringError
from datarun.runner.scoring.builtin import BuiltIn

from . import Fold

_TRIED = 20  # folds that metrics are tried on: what fails on none of them fails seldom


class FoldsError(Exception):
    """The folds, or the metrics, can't be used with these data; says why and what to do."""


def cut(
    splitter: str, parameters: Mapping[str, Any], y: NDArray[Any], groups: NDArray[Any] | None
) -> list[Fold]:
    """The folds that scikit-learn's `splitter` cuts of the rows that `y` labels; raises what it raises."""
    made = getattr(sklearn.model_selection, splitter)(**parameters)
    rows = np.zeros((len(y), 1))
    return take(made.split(rows, y, groups))


def take(folds: Iterable[tuple[Any, Any]]) -> list[Fold]:
    """The folds as arrays; raises `FoldsError` if these are too many."""
    taken = list(islice(folds, MOST_FOLDS + 1))
    if len(taken) > MOST_FOLDS:
        raise FoldsError(f"These are more than {MOST_FOLDS} folds, and each is a job for every submission.")
    return [(_rows(train), _rows(test)) for train, test in taken]


def _rows(indices: Any) -> Rows:
    array = np.asarray(indices)
    if array.dtype == bool:
        array = np.flatnonzero(array)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise FoldsError(f"A fold names rows by {array.dtype}, shape {array.shape}: indices are wanted.")
    return array.astype(np.int64)


def check(folds: Sequence[Fold], n_train: int) -> None:
    """Raises `FoldsError` unless each fold has rows to train and to validate on, and the train part has those rows."""
    if not folds:
        raise FoldsError("There are no folds.")
    for number, fold in enumerate(folds):
        for what, rows in zip(("train", "validate"), fold, strict=True):
            if not len(rows):
                raise FoldsError(f"Fold {number} has no rows to {what} on.")
            if rows.min() < 0 or rows.max() >= n_train:
                raise FoldsError(
                    f"Fold {number} names row {rows.max()}: the train part has {n_train} rows, counted from 0."
                )


def check_classes(folds: Sequence[Fold], y: NDArray[Any]) -> None:
    """Raises `FoldsError` if a fold trains without one of the classes: its probabilities could not be compared."""
    classes, codes = np.unique(y, return_inverse=True)
    for number, (train, _) in enumerate(folds):
        missing = np.setdiff1d(np.arange(len(classes)), codes[train])
        if len(missing):
            raise FoldsError(
                f"Fold {number} trains without class {classes[missing[0]]!s}. Cut folds that have all classes, "
                "with StratifiedKFold for example, or leave that class out of the data."
            )


def check_metrics(
    names: Sequence[str], folds: Sequence[Fold], y_train: NDArray[Any], y_test: NDArray[Any]
) -> None:
    """Raises `FoldsError` if a metric can't score these labels, whatever is predicted for them."""
    parts = [("valid", y_train[test]) for _, test in folds[:_TRIED]]
    if len(y_test):
        parts.append(("test", y_test))
    for name in names:
        scoring = BuiltIn([name], y_train)
        for part, y in parts:
            try:
                scoring.score(y, _guess(name, scoring, y_train, len(y)), None)
            except ScoringError as error:
                raise FoldsError(f"The {part} part: {error}{_hint(name, y_train)}") from error


def _guess(name: str, scoring: BuiltIn, y_train: NDArray[Any], rows: int) -> NDArray[np.float64]:
    """The same for each row: the shares of the classes, or the mean."""
    task = SCORERS[name] if name in SCORERS else SCORE_TYPES[name][0]
    if task == Task.REGRESSION:
        if y_train.dtype.kind not in "biuf":
            raise ScoringError(f"{name} scores numbers: the labels are {y_train.dtype}.")
        return np.repeat(np.mean(y_train, axis=0, keepdims=True, dtype=np.float64), rows, axis=0)
    _, numbers = np.unique(y_train, return_counts=True)
    return np.tile(numbers / numbers.sum(), (rows, 1))


def _hint(name: str, y: NDArray[Any]) -> str:
    several = len(np.unique(y)) > 2
    instead = {"roc_auc": "roc_auc_ovr", "average_precision": "neg_log_loss"}.get(name)
    if instead is None and f"{name}_macro" in SCORERS:
        instead = f"{name}_macro"
    return f" Use {instead} instead." if instead and (several or instead.endswith("_macro")) else ""
