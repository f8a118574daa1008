"""What data sets have in common whose folds and metrics are scikit-learn's: all but kits."""

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarun.runner.sandbox import labels
from datarun.runner.sandbox.task import Task, fold_rows
from datarun.runner.scoring import Labels, Scoring

from . import Fold


def cut_folds(task: Task, y_train: Any, y_test: Any, groups: NDArray[Any] | None = None) -> list[Fold] | None:
    """The folds, if any are asked for; what they will be scored with is tried on the labels."""
    from . import folds  # few processes prepare, and scikit-learn takes a second

    if task.cv is None:
        return None
    y_train, y_test = np.asarray(y_train), np.asarray(y_test)
    if task.cv["splitter"]:
        made = folds.cut(task.cv["splitter"], task.cv["parameters"], y_train, groups)
    else:
        names = [fold_rows(number) for number in range(task.given_folds)]
        made = [(task.indices(train_is), task.indices(test_is)) for train_is, test_is in names]
    folds.check(made, len(y_train))
    if "classifier" in task.elements and task.metrics:
        folds.check_classes(made, y_train)
    folds.check_metrics(task.metrics, made, y_train, y_test)
    return made


def encode_labels(y_train: Any, y_test: Any) -> dict[str, bytes]:
    """For the supervisor; without a part whose labels only their own module understands."""
    encoded = {}
    for part, y in (("train", y_train), ("test", y_test)):
        with contextlib.suppress(TypeError, ValueError):
            encoded[part] = labels.dumps(np.asarray(y))
    return encoded


def scoring(task: Task) -> tuple[Scoring, Labels]:
    from datarun.runner.scoring.builtin import BuiltIn

    y = Labels(*(_plain(labels.loads(task.arrays[f"{part}_labels"])) for part in ("train", "test")))
    return BuiltIn(task.metrics, y.train), y


def _plain(y: NDArray[Any]) -> NDArray[Any]:
    """Texts as an array of text, which scikit-learn prefers to one of objects."""
    return np.array(y.tolist()) if y.dtype == object else y
