"""The workflow of a custom module: the organiser's functions read the data, train and test."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarun.runner import predictions
from datarun.runner.sandbox.task import Task
from datarun.runner.scoring import Labels, Scoring

from . import Loaded, Prepared, Warm, builtin

FUNCTIONS = ("prepare_data", "get_train_data", "get_test_data", "train_submission", "test_submission")


class ModuleError(Exception):
    """The custom module lacks a function or breaks its promise; says which."""


def import_custom(path: Path) -> ModuleType:
    """The organiser's module in the file `path`, with every function it must define."""
    spec = importlib.util.spec_from_file_location(f"custom_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ModuleError(f"{path.name} is no Python module.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    missing = [name for name in FUNCTIONS if not callable(getattr(module, name, None))]
    if missing:
        raise ModuleError(f"{path.name} lacks the function {missing[0]}.")
    return module


def load(module: ModuleType, folder: Path) -> tuple[Any, Any, Any, Any]:
    """X and y of the train part, X and y of the test part."""
    X_train, y_train = module.get_train_data(str(folder))
    X_test, y_test = module.get_test_data(str(folder))
    return X_train, y_train, X_test, y_test


def _readable(module: ModuleType, source: Path) -> list[str]:
    return [source.name, *getattr(module, "READABLE_BY_SUBMISSIONS", ())]


class CustomWorkflow:
    """See `Workflow`. X may be anything that the module's own functions understand."""

    def __init__(
        self, package: str, module: ModuleType, X_train: Any, y_train: Any, X_test: Any, n_test: int
    ) -> None:
        self._module, self._package = module, package
        self._X_train, self._y_train, self._X_test = X_train, y_train, X_test
        self.n_train, self.n_test = len(y_train), n_test

    def train(self, train_is: NDArray[np.int64]) -> Any:
        return self._module.train_submission(self._package, self._X_train, self._y_train, train_is)

    def predict_train(self, model: Any) -> Any:
        return self._module.test_submission(model, self._X_train, np.arange(self.n_train))

    def predict_test(self, model: Any) -> Any:
        return self._module.test_submission(model, self._X_test, np.arange(self.n_test))


class Custom:
    """See `DataSet`."""

    def prepare(self, task: Task, source: Path) -> Prepared:
        module = import_custom(source)
        module.prepare_data(str(source.parent))
        _, y_train, _, y_test = load(module, source.parent)
        folds = builtin.cut_folds(task, y_train, y_test)
        return Prepared(len(y_train), len(y_test), folds=folds, readable=_readable(module, source))

    def load(self, task: Task, source: Path) -> Loaded:
        module = import_custom(source)
        X_train, y_train, X_test, y_test = load(module, source.parent)
        return Loaded(
            (X_train, y_train, X_test, len(y_test)),
            len(y_train),
            len(y_test),
            builtin.encode_labels(y_train, y_test),
            _readable(module, source),
        )

    def take_over(self, source: Path) -> ModuleType:
        return import_custom(source)

    def workflow(self, task: Task, submission: Path, warm: Warm) -> CustomWorkflow:
        return CustomWorkflow(submission.name, warm.module, *warm.prepared)

    def check(self, values: Any, rows: int, part: str) -> NDArray[np.float64]:
        return predictions.check(values, rows, part)

    def scoring(self, task: Task, warm: Warm) -> tuple[Scoring, Labels]:
        return builtin.scoring(task)


DATA_SET = Custom()
