"""The demo: posts three small data sets, submits to each twice, shows scores and a leaderboard of each.

It is a client like any other: it speaks to the web with ``test_files/post_api.py`` and touches nothing else.
"""

import importlib.util
import secrets
import time
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .platform import CHECKOUT

_FILES = CHECKOUT / "test_files"
_USER = "demo"
_FOLDS = 3  # of each data set
_TIMEOUT = 300.0  # seconds for everything
_WIDTH = 120  # columns, where the output is no terminal
_FINISHED = frozenset({"TESTED", "ERROR"})


@dataclass(frozen=True, slots=True)
class Example:
    """A data set of `test_files`, how it is judged, and its submissions: name → folder."""

    name: str
    data_file: str
    target_column: str
    elements: tuple[str, ...]
    held_out_test: float
    splitter: str
    metrics: tuple[str, ...]
    extra_files: tuple[str, ...] = ()
    submissions: dict[str, str] = field(default_factory=lambda: {"first": "", "other": "other"})

    @property
    def data_set(self) -> str:
        return f"demo {self.name}"

    @property
    def cv(self) -> dict[str, Any]:
        parameters = {"n_splits": _FOLDS, "random_state": 42}
        return {"splitter": self.splitter, "parameters": parameters | self._shuffled}

    @property
    def _shuffled(self) -> dict[str, Any]:
        return {"test_size": 0.25} if "Shuffle" in self.splitter else {"shuffle": True}

    def paths(self, names: tuple[str, ...], folder: str = "") -> list[str]:
        return [str(_FILES / self.name / folder / name) for name in names]


EXAMPLES = (
    Example(
        "iris", "iris.csv", "species", ("classifier",), 0.5, "StratifiedKFold", ("accuracy", "neg_log_loss")
    ),
    Example("diabetes", "diabetes.csv", "progression", ("regressor",), 0.2, "ShuffleSplit", ("RMSE", "r2")),
    Example(
        "digits",
        "data.csv",
        "label",
        ("feature_extractor", "classifier", "calibrator"),
        0.2,
        "StratifiedKFold",
        ("accuracy", "neg_log_loss"),
        ("pixels.csv.gz", "digits_datarun.py"),
    ),
)


class DemoError(Exception):
    """The platform answered what a demo doesn't expect; says what."""


def run(url: str) -> bool:
    """Runs the demo against the platform at `url`; returns whether every fold was tested and all is on leaderboards."""
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    client = _Client(url, *_demo_user())
    data_sets = {example.data_set: client.post_data(example) for example in EXAMPLES}
    submissions = {
        id: f"{example.name}/{name}" for example in EXAMPLES for id, name in client.submit(example).items()
    }
    until = time.monotonic() + _TIMEOUT
    _follow(client, list(submissions), console, until)
    shown = [client.submission(id) for id in submissions]
    console.print(_folds(shown, submissions))
    for submission in shown:
        for fold in submission["folds"]:
            if fold["failure"]:
                why = fold["failure"]
                console.print(f"Fold {fold['id']}: {why['kind']}: {why['message']}", markup=False)
    tested = all(fold["state"] == "TESTED" for each in shown for fold in each["folds"])
    boards = [_board(client, id, set(submissions), until if tested else 0.0) for id in data_sets.values()]
    for board in boards:
        console.print(_leaderboard(board))
    return tested and all(_is_whole(board, set(submissions)) for board in boards)


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


class _Client:
    def __init__(self, url: str, user: str, password: str) -> None:
        self._api, self._who = _load_post_api(), (url, user, password)

    def post_data(self, example: Example) -> int:
        """Posts the data set, if it isn't there, and has it split; returns its id."""
        response = self._api.post_data(
            *self._who,
            example.data_set,
            example.target_column,
            ",".join(example.elements),
            example.paths((example.data_file,))[0],
            extra_files=example.paths(example.extra_files),
            cv=example.cv,
            metrics=example.metrics,
        )
        if response.status_code == 400 and "already exists" in response.text:
            known = _answer(self._api.get_raw_data(*self._who))
            return int(next(row["id"] for row in known if row["name"] == example.data_set))
        id = int(_answer(response)["id"])
        if example.extra_files:
            _answer(self._api.custom_post_split(*self._who, id))
        else:
            _answer(self._api.post_split(*self._who, example.held_out_test, id))
        return id

    def submit(self, example: Example) -> dict[int, str]:
        """Submits to the data set; id → name."""
        submitted = {}
        for name, folder in example.submissions.items():
            files = example.paths(tuple(f"{element}.py" for element in example.elements), folder)
            posted = _answer(self._api.post_submission(*self._who, example.data_set, files, name))
            submitted[int(posted["id"])] = name
        return submitted

    def submission(self, id: int) -> dict[str, Any]:
        return dict(_answer(self._api.get_submission(*self._who, id)))

    def leaderboard(self, data_set: int) -> dict[str, Any]:
        return dict(_answer(self._api.get_leaderboard(*self._who, data_set)))


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


def _follow(client: _Client, submissions: list[int], console: Console, until: float) -> None:
    """Shows a bar until every fold is finished, or the time is up."""
    columns = (TextColumn("folds"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("folds", total=len(submissions) * _FOLDS)
        while not progress.finished and time.monotonic() < until:
            shown = [client.submission(id) for id in submissions]
            if any(each["failure"] for each in shown):
                return
            finished = sum(fold["state"] in _FINISHED for each in shown for fold in each["folds"])
            progress.update(bar, completed=finished)
            time.sleep(0.2)


def _board(client: _Client, data_set: int, submissions: set[int], until: float) -> dict[str, Any]:
    """The leaderboard, once what was submitted is bagged and blended, or the time is up."""
    while not _is_whole(board := client.leaderboard(data_set), submissions) and time.monotonic() < until:
        time.sleep(0.2)
    return board


def _is_whole(board: dict[str, Any], submissions: set[int]) -> bool:
    rows = [row for row in board["submissions"] if row["id"] in submissions]
    return bool(rows) and all(row["bagged"] is not None and row["contributivity"] is not None for row in rows)


def _folds(shown: list[dict[str, Any]], names: dict[int, str]) -> Table:
    table = Table("submission", "fold", "state", "metric", "train", "valid", "test", "train s", "test s")
    for submission in shown:
        for fold in submission["folds"]:
            metric = next(iter(fold["scores"].get("valid", {})), "")
            scores = [
                _number(fold["scores"].get(part, {}).get(metric)) for part in ("train", "valid", "test")
            ]
            times = [f"{fold[name]:.3f}" for name in ("train_time", "test_time")]
            number = "" if fold["number"] is None else str(fold["number"])
            table.add_row(names[submission["id"]], number, fold["state"], metric, *scores, *times)
    return table


def _leaderboard(board: dict[str, Any]) -> Table:
    names = [metric["name"] for metric in board["metrics"]]
    direction = "less" if board["metrics"][0]["lower_is_better"] else "more"
    title = (
        f"Leaderboard of {board['name']}: {board['official']} on the validation rows, {direction} is better"
    )
    others = [f"{name}, mean" for name in names[1:]]
    table = Table(
        "rank", "submission", "mean ± std", "bagged", *others, "contributivity", "train s", title=title
    )
    for row in board["submissions"]:
        means = [row["scores"].get(name, {}).get("valid", {}).get("mean") for name in names[1:]]
        table.add_row(
            str(row["rank"] or ""),
            f"{row['name']} ({row['user']})" if row["why"] is None else f"{row['name']}: {row['why']}",
            f"{_number(row['mean'])} ± {_number(row['std'])}",
            _number(row["bagged"]),
            *map(_number, means),
            _number(row["contributivity"]),
            _number(row["train_time"]),
        )
    if blended := board["blended"].get("valid", {}).get(board["official"]):
        table.add_row("", "the best of them, blended", "", _number(blended))
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
