"""The kinds of data sets: how each is prepared, loaded, trained on and scored.

Run in the sandbox only, never by the supervisor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from datarun.runner.sandbox.task import Task
from datarun.runner.scoring import Labels, Rows, Scoring

Fold = tuple[Rows, Rows]
#: Kind (`Task.data_set`) → the module here that has its `DATA_SET`.
_MODULES = {"csv": "tabular", "module": "custom", "kit": "kit"}


class Workflow(Protocol):
    """A data set's two parts, and how a submission is trained and tested on them."""

    #: Rows of the train and of the test part; None: what is predicted of the test part is not wanted.
    n_train: int
    n_test: int | None

    def train(self, train_is: Rows) -> Any:
        """The model that the submission makes of the rows `train_is` of the train part."""

    def predict_train(self, model: Any) -> Any:
        """The model's predictions of the whole train part."""

    def predict_test(self, model: Any) -> Any:
        """The model's predictions of the test part."""


@dataclass(frozen=True)
class Prepared:
    """What a preparation finds out; `rows` are the split of a csv, `folds` None if none were asked for."""

    n_train: int
    n_test: int
    rows: Mapping[str, Rows] = field(default_factory=dict)
    folds: Sequence[Fold] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    # As in `Loaded`.
    readable: Sequence[str] = ()


@dataclass(frozen=True)
class Loaded:
    """What a loader reads: `prepared` for the zygote, the labels of each part for nobody but the supervisor."""

    prepared: Any
    n_train: int
    n_test: int
    # Part → bytes that `scoring` understands; a part is missing if no metric can.
    labels: Mapping[str, bytes]
    # Files and folders of the data set that submissions may read.
    readable: Sequence[str] = ()


@dataclass
class Warm:
    """What a zygote has for its children: where the raw data lie, what of them may be read, and what was loaded."""

    data: Path
    readable: Sequence[Path] = ()
    module: Any = None
    prepared: Any = None
    # Bytes of private memory that a child begins with.
    mapped: int = 0


class DataSet(Protocol):
    """One kind of data set. `source` is its csv or its module, `task` says the rest.

    What its methods raise is the organiser's to mend.
    """

    def prepare(self, task: Task, source: Path) -> Prepared:
        """Splits or prepares the data set in the folder of `source`, and cuts its folds."""

    def load(self, task: Task, source: Path) -> Loaded:
        """Reads the data set."""

    def take_over(self, source: Path) -> Any:
        """The organiser's module for a zygote, which has `source` and what is readable, and no other file."""

    def workflow(self, task: Task, submission: Path, warm: Warm) -> Workflow:
        """For a fold of the submission in this folder, which is a package; the current folder is the fold's home."""

    def check(self, values: Any, rows: int, part: str) -> NDArray[Any]:
        """What was predicted, as it is handed on; raises `datarun.runner.predictions.BadOutput`."""

    def scoring(self, task: Task, warm: Warm) -> tuple[Scoring, Labels]:
        """The metrics that the task names, and the labels among its arrays."""


def data_set(kind: str) -> DataSet:
    return cast(DataSet, import_module(f"{__name__}.{_MODULES[kind]}").DATA_SET)
