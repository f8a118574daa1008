"""What a runner does, done on this machine alone: the same executor and sandbox, without a master and a broker.

For whoever wants to know before submitting what would happen, or after, whether it happens again.
"""

import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from datarun.contract.messages import CrossValidation, Data, FoldOrder, Limits, Outcome, PrepareOrder
from datarun.runner.blobs import BlobError, BlobStore
from datarun.runner.executors.process import ProcessExecutor
from datarun.runner.sandbox.run import Watcher

#: What a job may use unless it is said otherwise.
LIMITS = Limits(wall=3600.0, memory=4 << 30, disk=4 << 30)
_PROBLEM = "problem.py"
_NAME = "local"
#: Rows of each class that a sample keeps, where there are so many.
_LEAST = 10


class LocalBlobs(BlobStore):
    """Blobs in a folder: nothing is fetched from anywhere, or sent."""

    def __init__(self, folder: Path) -> None:
        super().__init__("", "", folder)

    def put(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        kept = self._folder / sha256[:2] / sha256
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            kept.write_bytes(content)
            kept.chmod(0o444)
        return sha256

    def put_file(self, path: Path) -> str:
        sha256 = self.hash_file(path)
        kept = self._folder / sha256[:2] / sha256
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, kept)
            kept.chmod(0o444)
        return sha256

    def _fetch(self, sha256: str, path: Path) -> None:
        raise BlobError(f"Blob {sha256} is not on this machine.")


@dataclass(frozen=True)
class DataSet:
    """A data set as it is posted: a csv; or files, one of which is a custom module or the `problem.py` of a kit."""

    kind: str
    files: Mapping[str, Path]
    target_column: str = ""
    elements: Sequence[str] = ()
    metrics: Sequence[str] = ()
    cv: Mapping[str, Any] | None = None
    held_out_test: float = 0.2
    random_state: int = 42
    limits: Limits = LIMITS

    @property
    def module(self) -> str | None:
        if self.kind == "csv":
            return None
        if self.kind == "kit":
            return _PROBLEM
        return next(name for name in self.files if name.endswith(".py") and "/" not in name)


@dataclass(frozen=True)
class Ready:
    """A data set once it is prepared: what each of its folds is made of."""

    data_set: DataSet
    data: Data
    elements: Sequence[str]
    metrics: Sequence[str]
    # Blobs of the rows to train and to validate on, of each fold.
    folds: Sequence[tuple[str, str]]


class Failed(Exception):
    """The data set can't be prepared; `outcome` says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


class LocalRunner:
    """Prepares data sets and runs folds; `running` makes one."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.blobs = LocalBlobs(folder / "blobs")
        self._executor = ProcessExecutor(self.blobs, folder / "scratch", threads=threads, name=_NAME)

    @classmethod
    @contextmanager
    def running(cls, threads: int = 1) -> Iterator["LocalRunner"]:
        """A runner in a folder that is removed at the end."""
        folder = Path(tempfile.mkdtemp(prefix="datarun-")).resolve()
        runner = cls(folder, threads)
        try:
            yield runner
        finally:
            runner._executor.close()
            shutil.rmtree(folder, ignore_errors=True)

    def prepare(self, data_set: DataSet) -> Ready:
        """Splits it and cuts its folds; raises `Failed`."""
        data = Data(
            files={name: self.blobs.put_file(path) for name, path in data_set.files.items()},
            target_column=data_set.target_column,
            module=data_set.module,
            kit=data_set.kind == "kit",
        )
        order = PrepareOrder(
            job=_NAME,
            attempt=1,
            data=data,
            limits=data_set.limits,
            held_out_test=data_set.held_out_test if data_set.kind == "csv" else None,
            random_state=data_set.random_state if data_set.kind == "csv" else None,
            elements=tuple(data_set.elements),
            cv=None if data_set.cv is None else CrossValidation(**data_set.cv),
            metrics=tuple(data_set.metrics),
        )
        outcome = self._executor.run(order, _NAME, Watcher())
        assert isinstance(outcome, Outcome)
        if outcome.failure is not None:
            raise Failed(outcome)
        return self._ready(data_set, data, outcome)

    def _ready(self, data_set: DataSet, data: Data, outcome: Outcome) -> Ready:
        numbers = range(outcome.counts.get("n_folds", 0))
        folds = [
            (outcome.blobs[f"cv/{number}/train_is"], outcome.blobs[f"cv/{number}/test_is"])
            for number in numbers
        ]
        written = {
            name: blob
            for name, blob in outcome.blobs.items()
            if not name.startswith("cv/") and name not in ("train_rows", "test_rows")
        }
        prepared = replace(
            data,
            files={**data.files, **written},
            train_rows=outcome.blobs.get("train_rows"),
            test_rows=outcome.blobs.get("test_rows"),
            n_train=outcome.counts["n_train"],
            n_test=outcome.counts["n_test"],
        )
        elements = outcome.facts.get("elements", data_set.elements)
        metrics = [metric["name"] for metric in outcome.facts.get("metrics", [])] or data_set.metrics
        return Ready(data_set, prepared, elements, metrics, folds)

    def run(
        self,
        ready: Ready,
        submission: Mapping[str, bytes],
        number: int = 0,
        most_rows: int | None = None,
    ) -> Outcome:
        """Runs one fold of the submission. `most_rows`: of a csv, train on a sample of so many rows."""
        train_is, test_is = ready.folds[number]
        if most_rows is not None and ready.data_set.kind == "csv":
            train_is = self.blobs.put(self._sample(ready, train_is, most_rows).astype("<i8").tobytes())
        order = FoldOrder(
            job=_NAME,
            attempt=1,
            data=ready.data,
            limits=ready.data_set.limits,
            about={},
            submission={name: self.blobs.put(content) for name, content in submission.items()},
            elements=tuple(ready.elements),
            train_is=train_is,
            test_is=test_is,
            metrics=tuple(ready.metrics),
        )
        outcome = self._executor.run(order, _NAME, Watcher())
        assert isinstance(outcome, Outcome)
        return outcome

    def rows(self, blob: str) -> NDArray[np.int64]:
        return np.frombuffer(self.blobs.read(blob), dtype="<i8").astype(np.int64)

    def _sample(self, ready: Ready, train_is: str, most: int) -> NDArray[np.int64]:
        """Some of the rows to train on, in their order; some of each class are among them."""
        rows = self.rows(train_is)
        if len(rows) <= most:
            return rows
        shuffled = np.random.default_rng(0).permutation(rows)
        kept = shuffled[:most]
        if "classifier" in ready.elements:
            (csv,) = ready.data.files.values()
            assert ready.data.train_rows is not None
            y = pd.read_csv(self.blobs.path(csv), usecols=[ready.data.target_column]).iloc[:, 0].to_numpy()
            classes, seen, first = y[self.rows(ready.data.train_rows)], Counter[Any](), []
            for row in shuffled:
                if seen[classes[row]] < _LEAST:
                    seen[classes[row]] += 1
                    first.append(row)
            kept = np.concatenate([first, kept[: max(0, most - len(first))]])
        return np.unique(kept).astype(np.int64)
