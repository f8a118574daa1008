"""Data sets, submissions and folds of a platform: what was read when they were made, and what can be done with them.

Their values are those of the API's JSON, kept whole in `raw`; `refresh` reads them again.
"""

import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, overload
from urllib.parse import quote

from . import files, html, tables, uploads
from .errors import InputError, OtherVersion, WaitedTooLong
from .transport import Transport

T = TypeVar("T")

#: Submissions in these states have ended.
ENDED = frozenset({"scored", "partial", "failed", "cancelled"})
PARTS = ("train", "valid", "test")

_SHORTEST_LOOK, _LONGEST_LOOK = 0.3, 2.0  # seconds between two looks
_LARGE = 4 << 20  # bytes of files that go up as a resumable upload


class Field(Generic[T]):
    """A value of the JSON, under the name of the attribute."""

    def __init__(self, convert: Callable[[Any], T]) -> None:
        self._convert = convert

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, resource: None, owner: type) -> Self: ...
    @overload
    def __get__(self, resource: "Resource", owner: type) -> T: ...
    def __get__(self, resource: "Resource | None", owner: type) -> Self | T:
        if resource is None:
            return self
        return self._convert(resource.value(self._name))


def maybe(convert: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda value: None if value is None else convert(value)


class Resource:
    """Something at an address of its own."""

    def __init__(self, transport: Transport, raw: Mapping[str, Any]) -> None:
        self._transport = transport
        self.raw = raw

    def value(self, name: str) -> Any:
        """What the JSON has under this name; raises `OtherVersion` if there is nothing."""
        try:
            return self.raw[name]
        except (KeyError, TypeError) as error:
            raise OtherVersion(
                f"The platform at {self._transport.url} answers without {name!r}: it runs another version of datarun. "
                "pip install --upgrade datarun, or ask for the version that fits."
            ) from error

    @property
    def _path(self) -> str:
        raise NotImplementedError

    def refresh(self) -> Self:
        """Reads it again."""
        self.raw = self._transport.get(self._path)
        return self

    def _post(self, action: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._transport.post(f"{self._path}{action}/", body)


class Fold(Resource):
    """A submission on one fold of the data set's cross-validation."""

    id = Field(int)
    #: In the cross-validation, from 0; None of folds that a client has cut itself.
    number = Field(maybe(int))
    #: ``waiting``, ``running``, ``done``, ``failed`` or ``cancelled``.
    state = Field(str)
    #: How far a running fold has come, "", ``trained`` or ``validated``.
    stage = Field(str)
    #: The failure kind, and what it says.
    failure = Field(maybe(str))
    message = Field(str)
    #: Seconds and MiB.
    times = Field(dict)
    runner = Field(maybe(str))
    #: Why it waits.
    waiting = Field(maybe(str))

    @property
    def _path(self) -> str:
        return f"folds/{self.id}/"

    def __repr__(self) -> str:
        return f"<Fold {self.id} (number {self.number}): {self.state}>"

    def scores(self) -> dict[str, dict[str, float]]:
        """Part → metric → value, of the parts that you may see."""
        return dict(self.value("scores"))

    def log(self, offset: int = 0) -> str:
        """What the submission printed, from this byte on."""
        return str(self._transport.get(f"{self._path}log/", offset=offset or None)["text"])

    def follow(self) -> Iterator[str]:
        """The log as it grows, until the fold has ended."""
        offset, pause = 0, _SHORTEST_LOOK
        while True:
            part = self._transport.get(f"{self._path}log/", offset=offset or None)
            offset = part["next"]
            if part["text"]:
                yield part["text"]
                pause = _SHORTEST_LOOK
            elif part["done"]:
                return
            else:
                time.sleep(pause)
                pause = min(1.5 * pause, _LONGEST_LOOK)

    def why_it_failed(self) -> str:
        """The failure kind and its message, often a traceback; "" if it did not fail."""
        return f"{self.failure}: {self.message.rstrip()}\n" if self.state == "failed" else ""

    def predictions(self, part: str = "test") -> Any:
        """Predictions of the whole ``train`` part or of the ``test`` part, in the order of its rows.

        An array (rows,) or (rows, columns), of a classifier one column a class; lists where numpy is missing or
        predictions are ragged.
        """
        content, media_type = self._predicted(part, tables.wanted_format())
        return tables.array(content, media_type)

    def predictions_as(self, format: str, part: str = "test") -> bytes:
        """The same as a file: ``npy``, ``csv`` or ``arrow``."""
        return self._predicted(part, format)[0]

    def _predicted(self, part: str, format: str) -> tuple[bytes, str]:
        return self._transport.read(f"{self._path}predictions/{part}", "*/*", format=format)

    def record(self) -> dict[str, Any]:
        """With what its scores came about: hashes of code, data and rows, versions, threads, seed, processor."""
        return dict(self._transport.get(f"{self._path}record/"))

    def attempts(self) -> list[dict[str, Any]]:
        return list(self._transport.pages(f"{self._path}attempts/"))

    def cancel(self) -> None:
        self._post("cancel")

    def rerun(self) -> None:
        self._post("rerun")

    def _repr_html_(self) -> str:
        facts = {"state": self.state, "stage": self.stage, "waits": self.waiting, "runner": self.runner}
        failed = {"failure": self.failure, "message": self.message}
        scores = [
            (part, metric, value)
            for part, values in self.scores().items()
            for metric, value in values.items()
        ]
        below = html.table(("part", "metric", "score"), scores) if scores else ""
        return html.card(f"Fold {self.id}", facts | failed, below)


class Submission(Resource):
    """A submission to a data set, on all folds of its cross-validation."""

    id = Field(int)
    name = Field(str)
    #: The data set's name.
    dataset = Field(str)
    user = Field(maybe(str))
    #: ``waiting``, ``running``, ``scored``, ``partial`` (some folds failed), ``failed`` or ``cancelled``.
    state = Field(str)
    created_at = Field(datetime.fromisoformat)
    #: Why it waits.
    waiting = Field(maybe(str))
    #: Why it has no folds, as ``kind`` and ``message``.
    failure = Field(maybe(dict))

    @property
    def _path(self) -> str:
        return f"submissions/{self.id}/"

    @property
    def counts(self) -> dict[str, int]:
        """How many folds are ``done``, ``failed``, ``running``, ``waiting``, and in ``total``."""
        return dict(self.value("folds"))

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def __repr__(self) -> str:
        counts = self.counts
        done = f"{counts['done']} of {counts['total']} folds done" if counts["total"] else "no folds yet"
        return f"<Submission {self.id} {self.name!r} to {self.dataset!r}: {self.state}, {done}>"

    def folds(self) -> list[Fold]:
        return [Fold(self._transport, raw) for raw in self._transport.pages(f"{self._path}folds/")]

    def wait(self, timeout: float | None = None, progress: bool = False, console: Any = None) -> Self:
        """Returns once it has ended, well or not; `progress` shows its folds meanwhile, in a terminal or a notebook.

        `console` is the one of rich to show them on, by default standard error. Raises `WaitedTooLong` after `timeout`
        seconds.
        """
        from .live import watching

        until = None if timeout is None else time.monotonic() + timeout
        shown: object = None
        pause = _SHORTEST_LOOK
        with watching(progress, console) as show:
            while True:
                if self.refresh().raw is shown:  # it hasn't changed, so it was not sent again
                    pause = min(1.5 * pause, _LONGEST_LOOK)
                else:
                    shown, pause = self.raw, _SHORTEST_LOOK
                    show(self, self.folds)
                if self.ended:
                    return self
                if until is not None and time.monotonic() + pause > until:
                    raise WaitedTooLong(
                        f"Submission {self.id} has not ended within {timeout:g} s: it is {self.state}."
                    )
                time.sleep(pause)

    def summary(self) -> Any:
        """A row for each part and metric: mean and std over the folds, and the score of their combined predictions."""
        return tables.frame(self.summary_rows())

    def scores(self) -> Any:
        """A row for each fold and part that you may see, a column for each metric."""
        return tables.frame(self.score_rows())

    def summary_rows(self) -> list[dict[str, Any]]:
        return [
            {"part": part, "metric": metric, **values}
            for part, metrics in self.value("scores").items()
            for metric, values in metrics.items()
        ]

    def score_rows(self) -> list[dict[str, Any]]:
        return [
            {"fold": fold.number, "part": part, **fold.scores()[part]}
            for fold in self.folds()
            for part in PARTS
            if part in fold.scores()
        ]

    def predictions(self, part: str = "test") -> Any:
        """Those of all folds that are done: (folds, rows) or (folds, rows, columns); see `Fold.predictions`."""
        return tables.stacked([fold.predictions(part) for fold in self.folds() if fold.state == "done"])

    def logs(self) -> str:
        """What the submission printed in its folds, one after the other, and why those failed that did."""
        return "\n".join(
            f"--- fold {fold.number}: {fold.state}\n{fold.log()}{fold.why_it_failed()}"
            for fold in self.folds()
        )

    def code(self) -> dict[str, bytes]:
        """Its files."""
        rows = self._transport.pages(f"{self._path}files/")
        return {
            row["name"]: self._transport.read(f"{self._path}files/{quote(row['name'])}", "*/*")[0]
            for row in rows
        }

    def cancel(self) -> Self:
        self._post("cancel")
        return self.refresh()

    def rerun(self, failed_only: bool = False) -> Self:
        self._post("rerun", {"failed_only": failed_only})
        return self.refresh()

    def delete(self) -> None:
        self._transport.delete(self._path)

    def _repr_html_(self) -> str:
        return self.card(self.folds())

    def card(self, folds: Sequence[Fold]) -> str:
        """HTML of the submission with these folds."""
        facts = {
            "data set": self.dataset,
            "by": self.user,
            "state": self.state,
            "waits": self.waiting,
            "failure": self.failure and self.failure["message"],
        }
        columns = ("part", "metric", "mean", "std", "bagged")
        rows = [[row.get(column) for column in columns] for row in self.summary_rows()]
        scores = html.table(columns, rows) if rows else ""
        return html.card(
            f"Submission {self.id}: {self.name}", facts, html.bar([fold.state for fold in folds]) + scores
        )


class Dataset(Resource):
    """A data set, which submissions are made to."""

    id = Field(int)
    name = Field(str)
    #: ``preparing``, ``ready``, ``failed`` or ``closed``.
    state = Field(str)
    #: Why it could not be prepared.
    problem = Field(maybe(str))
    owner = Field(maybe(str))
    target_column = Field(maybe(str))
    #: The files that a submission brings, without ``.py``.
    elements = Field(tuple)
    #: ``name`` and ``lower_is_better`` of each, the official one first.
    metrics = Field(tuple)
    cv = Field(maybe(dict))
    #: Rows of the two parts, and number of folds, once it is prepared.
    n_train = Field(maybe(int))
    n_test = Field(maybe(int))
    n_folds = Field(maybe(int))
    created_at = Field(datetime.fromisoformat)
    closed_at = Field(maybe(datetime.fromisoformat))

    @property
    def _path(self) -> str:
        return f"datasets/{self.id}/"

    def __repr__(self) -> str:
        return f"<Dataset {self.id} {self.name!r}: {self.state}>"

    def wait(self, timeout: float | None = None) -> Self:
        """Returns once it is prepared, or can't be: see `state` and `problem`. Raises `WaitedTooLong`."""
        until = None if timeout is None else time.monotonic() + timeout
        pause = _SHORTEST_LOOK
        while self.state == "preparing":
            if until is not None and time.monotonic() + pause > until:
                raise WaitedTooLong(f"Data set {self.name} is not prepared within {timeout:g} s.")
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_LOOK)
            self.refresh()
        return self

    def submit(
        self,
        source: Path | str | Sequence[Path | str] | Mapping[str, bytes | str],
        name: str | None = None,
        queue: str = "L",
        force: bool = False,
        progress: uploads.Progress | None = None,
    ) -> Submission:
        """Submits a folder, some files, or contents by file name; its folds are trained in parallel.

        `queue` is ``L``, light, or ``H``, heavy. `force` submits the same code once more.

        Raises
        ------
        InputError
            The files can't be read.
        Duplicate
            The same code was submitted before; `submission` is its id.
        TryLater
            More submissions than allowed; `at` is when it is possible again.
        Refused
            Other bad input; `errors` name fields and fixes.
        """
        contents = files.as_files(source)
        if name is None and isinstance(source, Path | str):
            name = Path(source).resolve().stem
        body: dict[str, Any] = {"name": name or "", "queue": queue, "force": force}
        if sum(map(len, contents.values())) > _LARGE:
            with files.zipped(contents) as path:
                body["upload"] = uploads.upload(self._transport, path, progress)
        else:
            body["files"] = {name: b64encode(content).decode() for name, content in contents.items()}
        return Submission(self._transport, self._post("submissions", body))

    def submissions(self) -> Iterator[Submission]:
        """Those that you may see."""
        for raw in self._transport.pages(f"{self._path}submissions/"):
            yield Submission(self._transport, raw)

    def leaderboard(self) -> Any:
        """A row for each submission, the best first; see `leaderboard_rows`."""
        return tables.frame([_flat(row) for row in self.leaderboard_rows()])

    def leaderboard_rows(self) -> list[dict[str, Any]]:
        """The same, as the API has it."""
        return list(self._transport.pages(f"{self._path}leaderboard/"))

    def leaderboard_page(self, limit: int = 1000) -> dict[str, Any]:
        """The best rows as ``results``, and as ``blended`` what the best submissions score together."""
        return dict(self._transport.get(f"{self._path}leaderboard/", limit=limit))

    def close(self) -> Self:
        """Takes no more submissions, and shows test scores to everybody."""
        self._post("close")
        return self.refresh()

    def open(self) -> Self:
        self._post("open")
        return self.refresh()

    def delete(self) -> None:
        self._transport.delete(self._path)

    def _repr_html_(self) -> str:
        facts = {
            "state": self.state,
            "problem": self.problem,
            "elements": ", ".join(self.elements),
            "metrics": ", ".join(metric["name"] for metric in self.metrics),
            "rows": self.n_train and f"{self.n_train} train, {self.n_test} test",
            "folds": self.n_folds,
        }
        return html.card(f"Data set {self.name}", facts)


def post_dataset(
    transport: Transport, source: Path, progress: uploads.Progress | None = None, **fields: Any
) -> Dataset:
    """See `Client.push`."""
    found = files.data_set(source)
    fields = {name: value for name, value in fields.items() if value is not None}
    body = {"name": found.name, "kind": found.kind, **found.fields, **fields}
    if found.kind == "csv":
        if not body.get("target_column"):
            raise InputError("Say which column is to be predicted: target_column (--target).")
        (body["file_name"],) = found.files
    with found.packed() as path:
        body["upload"] = uploads.upload(transport, path, progress)
    return Dataset(transport, transport.post("datasets/", body))


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A leaderboard's row without nesting: ``valid_accuracy``, ``valid_accuracy_std``, …"""
    flat = {name: value for name, value in row.items() if name != "scores"}
    for part, metrics in row["scores"].items():
        for metric, values in metrics.items():
            for name, value in values.items():
                flat[f"{part}_{metric}{'' if name == 'mean' else f'_{name}'}"] = value
    return flat
