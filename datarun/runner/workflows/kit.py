"""The workflow of a RAMP kit: its `problem.py` reads the data, cuts the folds, trains and tests.

As ramp-workflow 0.7 does it (`rampwf.utils.testing`, `rampwf.utils.submission`), so that `ramp-test` prints the same.
"""

import importlib.util
import inspect
import os
import pickle
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from datarun.contract.predictions import Predictions
from datarun.runner import predictions
from datarun.runner.sandbox.task import Task
from datarun.runner.scoring import Labels, Rows, Scoring

from . import Loaded, Prepared, Warm

PROBLEM = "problem.py"
#: A folder of modules that `problem.py` and submissions may import.
EXTERNAL_IMPORTS = "external_imports"
_DATA = "data"
_ATTRIBUTES = (
    *("problem_title", "Predictions", "workflow", "score_types"),
    *("get_cv", "get_train_data", "get_test_data"),
)
#: Names of files in X that are looked at, at most.
_MOST_NAMES = 100_000


class KitError(Exception):
    """The kit lacks something, or breaks its promise; says which."""


class Parts(NamedTuple):
    """What a kit gives of its two parts, and submissions may have: whatever its own workflow understands."""

    X_train: Any
    y_train: Any
    X_test: Any
    # None without labels of the test part.
    n_test: int | None

    @property
    def n_train(self) -> int:
        return len(self.y_train)


def import_problem(folder: Path) -> ModuleType:
    """The kit's `problem.py`, under the name by which what it has pickled is found again.

    `folder` becomes the current one, as it is for `ramp-test`.
    """
    os.chdir(folder)
    external = folder / EXTERNAL_IMPORTS
    if external.is_dir():
        sys.path.append(str(external))
    spec = importlib.util.spec_from_file_location("problem", folder / PROBLEM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except PermissionError as error:
        if error.filename is None:
            raise
        name = os.path.relpath(os.path.realpath(error.filename), os.path.realpath(folder))
        raise KitError(
            f"{PROBLEM} reads {name} while it is imported, and it is imported beside submissions, where the kit's "
            f"files can't be read. Read it in get_train_data; or, if submissions may see it, write "
            f"READABLE_BY_SUBMISSIONS = [{name!r}]."
        ) from error
    missing = [name for name in _ATTRIBUTES if not hasattr(module, name)]
    if missing:
        raise KitError(f"{PROBLEM} lacks {missing[0]}.")
    return module


def read(problem: ModuleType, folder: Path, data_label: str | None) -> tuple[Parts, Any]:
    """Both parts, of the data in `folder` that have this label, and the labels of the test part."""
    X_train, y_train = _read_part(problem.get_train_data, folder, data_label)
    X_test, y_test = _read_part(problem.get_test_data, folder, data_label)
    if X_test is None and y_test is not None:
        raise KitError("get_test_data gives labels, but no X.")
    return Parts(X_train, y_train, X_test, None if y_test is None else len(y_test)), y_test


def _read_part(function: Any, folder: Path, data_label: str | None) -> Any:
    if data_label is None:
        return function(path=str(folder))
    parameters = inspect.signature(function).parameters
    if "data_label" not in parameters and not any(p.kind == p.VAR_KEYWORD for p in parameters.values()):
        raise KitError(f"{function.__name__} takes no data_label: post the kit without one.")
    return function(path=str(folder), data_label=data_label)


def facts(problem: ModuleType) -> dict[str, Any]:
    """`title`, `elements` and `metrics`: see `datarun.contract.messages.PrepareOrder`."""
    metrics = [
        {"name": str(score_type.name), "lower_is_better": bool(score_type.is_lower_the_better)}
        for score_type in problem.score_types
    ]
    names = [metric["name"] for metric in metrics]
    if not names:
        raise KitError("score_types is empty: at least one metric is needed.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise KitError(f"Two score types are named {twice[0]!r}: give one of them another name.")
    elements = [str(name) for name in getattr(problem.workflow, "element_names", ())]
    return {"title": str(problem.problem_title), "elements": elements, "metrics": metrics}


def try_labels(problem: ModuleType, y_train: Any, y_test: Any) -> None:
    """Raises what the kit's `Predictions` raise of its own labels."""
    problem.Predictions(y_true=y_train)
    if y_test is not None:
        problem.Predictions(y_true=y_test)


def readable(problem: ModuleType, folder: Path, parts: Parts) -> list[str]:
    """What of the kit's folder submissions may read: its code, what it lists, and folders whose files X names."""
    listed = [str(name) for name in getattr(problem, "READABLE_BY_SUBMISSIONS", ())]
    own = [name for name in (PROBLEM, EXTERNAL_IMPORTS) if (folder / name).exists()]
    allowed = [folder / name for name in listed]
    named = set()
    for path in {_folder_of(name, folder) for X in (parts.X_train, parts.X_test) for name in _names(X)}:
        if path is None or any(path.is_relative_to(other) for other in allowed):
            continue
        if path in (folder, folder / _DATA):
            raise KitError(
                "X names files in the folder data, where labels lie, and submissions may read what X names. Put these "
                f"files into a folder of their own, data/files for example; or write in {PROBLEM}, if no label that "
                f'is to be predicted is in there: READABLE_BY_SUBMISSIONS = ["{_DATA}"].'
            )
        named.add(str(path.relative_to(folder)))
    return [*own, *listed, *sorted(named)]


def _link(warm: Warm, home: Path) -> None:
    """Has relative paths lead from `home`, the current folder of a fold, to what may be read of the kit."""
    for name in {path.relative_to(warm.data).parts[0] for path in warm.readable}:
        (home / name).symlink_to(warm.data / name)


def _names(X: Any) -> Iterator[str]:
    """The texts of X that may name files: X itself and what a tuple is of; or one of many, if it looks like a path."""
    for item in X if isinstance(X, tuple) else (X,):
        if isinstance(item, str | os.PathLike):
            yield os.fspath(item)
        elif isinstance(item, np.ndarray | list | tuple) or type(item).__name__ == "Series":
            texts = (
                os.fspath(text) for text in islice(item, _MOST_NAMES) if isinstance(text, str | os.PathLike)
            )
            yield from (text for text in texts if os.sep in text)


def _folder_of(name: str, folder: Path) -> Path | None:
    """The folder that `name` is, or is in, if there is such a file or folder of the kit."""
    if "\0" in name or not os.path.exists(folder / name):  # noqa: PTH110  # Path.exists raises of a long text
        return None
    path = Path(os.path.realpath(folder / name))
    if not path.is_relative_to(folder):
        return None
    return path if path.is_dir() else path.parent


class KitWorkflow:
    """See `Workflow`. `submission` is the folder of its files, `test_is` the rows to validate on, if that is known."""

    def __init__(self, submission: Path, problem: ModuleType, parts: Parts, test_is: Rows | None) -> None:
        self._submission, self._workflow, self._parts = str(submission), problem.workflow, parts
        self.n_train, self.n_test = parts.n_train, parts.n_test
        names = list(inspect.signature(self._workflow.test_submission).parameters)
        self._wants_fold = len(names) == 3 and names[2] == "fold"
        self._fold: Any = None
        self._test_is = test_is

    def train(self, train_is: Rows) -> Any:
        self._fold = (train_is, self._test_is)
        parts = self._parts
        return self._workflow.train_submission(self._submission, parts.X_train, parts.y_train, train_is)

    def predict_train(self, model: Any) -> Any:
        return self._predict(model, self._parts.X_train, self._fold)

    def predict_test(self, model: Any) -> Any:
        """None without a test part."""
        return None if self._parts.X_test is None else self._predict(model, self._parts.X_test, None)

    def _predict(self, model: Any, X: Any, fold: Any) -> Any:
        given = (model, X, fold) if self._wants_fold else (model, X)
        return self._workflow.test_submission(*given)


class Kit:
    """See `DataSet`."""

    def prepare(self, task: Task, source: Path) -> Prepared:
        from datarun.runner.scoring.kit import KitScoring

        from . import folds  # few processes prepare, and scikit-learn takes a second

        problem = import_problem(source.parent)
        given = facts(problem)
        KitScoring(task.metrics, problem)
        parts, y_test = read(problem, source.parent, task.data_label)
        try_labels(problem, parts.y_train, y_test)
        made = folds.take(problem.get_cv(parts.X_train, parts.y_train))
        folds.check(made, parts.n_train)
        names = readable(problem, source.parent, parts)
        return Prepared(parts.n_train, parts.n_test or 0, folds=made, facts=given, readable=names)

    def load(self, task: Task, source: Path) -> Loaded:
        problem = import_problem(source.parent)
        parts, y_test = read(problem, source.parent, task.data_label)
        labels = {part: pickle.dumps(y) for part, y in (("train", parts.y_train), ("test", y_test))}
        return Loaded(
            parts, parts.n_train, parts.n_test or 0, labels, readable(problem, source.parent, parts)
        )

    def take_over(self, source: Path) -> ModuleType:
        return import_problem(source.parent)

    def workflow(self, task: Task, submission: Path, warm: Warm) -> KitWorkflow:
        _link(warm, Path.cwd())
        test_is = task.indices("test_is") if "test_is" in task.arrays else None
        return KitWorkflow(submission, warm.module, warm.prepared, test_is)

    def check(self, values: Any, rows: int, part: str) -> Predictions:
        return predictions.check_kit(values, rows, part)

    def scoring(self, task: Task, warm: Warm) -> tuple[Scoring, Labels]:
        from datarun.runner.scoring.kit import KitScoring  # folds don't need it

        # Both are what the kit's own code has pickled; no code of a submission has run in this process.
        y = Labels(*(pickle.loads(task.arrays[f"{part}_labels"]) for part in ("train", "test")))  # noqa: S301
        return KitScoring(task.metrics, warm.module), y


DATA_SET = Kit()
