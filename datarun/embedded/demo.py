"""The demo: posts three small data sets, submits folds to each, shows what comes back.

It is a client like any other: it speaks to the web with ``test_files/post_api.py`` and touches nothing else.
"""

import base64
import importlib.util
import secrets
import time
import zlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .platform import CHECKOUT

_FILES = CHECKOUT / "test_files"
_USER = "demo"
_FIRST_ID = 900_000_000  # of submissions and folds: nobody else's
_FOLDS = 3  # of each submission
_TIMEOUT = 300.0  # seconds for everything
_FINISHED = frozenset({"TESTED", "ERROR"})


@dataclass(frozen=True, slots=True)
class Example:
    """A data set of `test_files`, and the folders of its submissions."""

    name: str
    data_file: str
    target_column: str
    elements: tuple[str, ...]
    held_out_test: float
    # Rows of its train part.
    n_train: int
    submissions: tuple[str, ...]
    extra_files: tuple[str, ...] = ()

    def paths(self, names: tuple[str, ...], folder: str = "") -> list[str]:
        return [str(_FILES / self.name / folder / name) for name in names]


EXAMPLES = (
    Example("iris", "iris.csv", "species", ("classifier",), 0.5, 75, ("", "other")),
    Example("diabetes", "diabetes.csv", "progression", ("regressor",), 0.2, 353, ("", "other")),
    Example(
        "digits",
        "data.csv",
        "label",
        ("feature_extractor", "classifier", "calibrator"),
        0.2,
        1437,
        ("", "other"),
        ("pixels.csv.gz", "digits_datarun.py"),
    ),
)


class DemoError(Exception):
    """The platform answered what a demo doesn't expect; says what."""


def run(url: str) -> bool:
    """Runs the demo against the platform at `url`; returns whether every fold was tested."""
    console = Console()
    client = _Client(url, *_demo_user())
    folds: dict[int, str] = {}
    for number, example in enumerate(EXAMPLES):
        folds |= client.submit(example, first_id=_FIRST_ID + 100 * number)
    _follow(client, folds, console)
    rows = client.results(list(folds))
    console.print(_table(rows, folds))
    for row in rows:
        if row["state"] == "ERROR":
            console.print(f"Fold {row['databoard_sf_id']}:\n{row['log_messages']}", markup=False)
    return all(row["state"] == "TESTED" for row in rows)


def _demo_user() -> tuple[str, str]:
    """The demo's own user, an organiser, with a password for this run."""
    from django.contrib.auth.models import User
    from django.db import connection

    from runapp.services import roles

    user, _ = User.objects.get_or_create(username=_USER)
    password = secrets.token_urlsafe(16)
    user.set_password(password)
    user.save()
    roles.give(user, roles.Role.ORGANISER)
    connection.close()
    return _USER, password


_Cut = tuple[NDArray[np.int64], NDArray[np.int64]]


def _cut(rows: int, seed: int) -> _Cut:
    """Training and test rows of one fold: a shuffled 80 to 20 % cut."""
    shuffled = np.random.default_rng(seed).permutation(rows)
    return shuffled[: rows * 4 // 5], shuffled[rows * 4 // 5 :]


class _Client:
    def __init__(self, url: str, user: str, password: str) -> None:
        self._api, self._who = _load_post_api(), (url, user, password)

    def submit(self, example: Example, first_id: int) -> dict[int, str]:
        """Posts the data set, its split and some folds of each submission; fold id → its name."""
        raw_data_id = self._post_data(example)
        if example.extra_files:
            _answer(self._api.custom_post_split(*self._who, raw_data_id))
        else:
            _answer(self._api.post_split(*self._who, example.held_out_test, raw_data_id))
        folds = {}
        for number, folder in enumerate(example.submissions):
            submission_id = first_id + 10 * number
            files = example.paths(tuple(f"{element}.py" for element in example.elements), folder)
            for fold in range(_FOLDS):
                fold_id = submission_id + fold
                self._post_fold(submission_id, fold_id, _cut(example.n_train, fold), raw_data_id, files)
                folds[fold_id] = f"{example.name}/{folder}".rstrip("/")
        return folds

    def _post_data(self, example: Example) -> int:
        response = self._api.post_data(
            *self._who,
            f"demo {example.name}",
            example.target_column,
            ",".join(example.elements),
            example.paths((example.data_file,))[0],
            extra_files=example.paths(example.extra_files),
        )
        if response.status_code == 400 and "already exists" in response.text:
            known = _answer(self._api.get_raw_data(*self._who))
            return int(next(row["id"] for row in known if row["name"] == f"demo {example.name}"))
        return int(_answer(response)["id"])

    def _post_fold(
        self, submission: int, fold_id: int, cut: _Cut, raw_data_id: int, files: list[str]
    ) -> None:
        first = fold_id == submission
        _answer(
            self._api.post_submission_fold(
                *self._who,
                submission,
                fold_id,
                *cut,
                priority="L",
                raw_data_id=raw_data_id if first else None,
                list_submission_files=files if first else None,
                force="submission, submission_fold" if first else "submission_fold",
            )
        )

    def finished(self, fold_ids: list[int]) -> int:
        rows = _answer(self._api.get_submission_fold_light(*self._who))
        return sum(row["databoard_sf_id"] in fold_ids and row["state"] in _FINISHED for row in rows)

    def results(self, fold_ids: list[int]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = _answer(self._api.get_prediction_list(*self._who, fold_ids))
        return rows


def _load_post_api() -> ModuleType:
    spec = importlib.util.spec_from_file_location("post_api", _FILES / "post_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _answer(response: Any) -> Any:
    if not response.ok:
        raise DemoError(f"{response.request.method} {response.url}: {response.status_code} {response.text}")
    return response.json()


def _follow(client: _Client, folds: dict[int, str], console: Console) -> None:
    """Shows a bar until every fold is finished, or the time is up."""
    columns = (TextColumn("folds"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    until = time.monotonic() + _TIMEOUT
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("folds", total=len(folds))
        while not progress.finished and time.monotonic() < until:
            progress.update(bar, completed=client.finished(list(folds)))
            time.sleep(0.2)


def _table(rows: list[dict[str, Any]], folds: dict[int, str]) -> Table:
    table = Table("submission", "fold", "state", "train s", "CPU s", "MiB", "test predictions")
    for row in rows:
        size = ""
        if row["test_predictions"] is not None:
            predicted = np.frombuffer(zlib.decompress(base64.b64decode(row["test_predictions"])), "<f8")
            size = f"{predicted.size} numbers"
        table.add_row(
            folds[row["databoard_sf_id"]],
            str(row["databoard_sf_id"]),
            row["state"],
            f"{row['train_time']:.3f}",
            f"{row['train_cpu_time']:.3f}",
            f"{row['train_memory']:.0f}",
            size,
        )
    return table
