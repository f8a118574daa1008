"""Folds whose right predictions are known: tiny, quick, and telling which runner computed them.

A fold predicts ``X * sum(train_is) + salt``; the first row of each part is the number of the runner instead, so that
the outcome of an attempt that does not count can't pass for the right one.
"""

import random
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import requests
from numpy.typing import NDArray

from test_files import post_api

Client = tuple[str, str, str]

_TRAIN_ROWS, _TEST_ROWS = 40, 20
#: Predictions of so many rows are too large for a message: they go through the web, and into its blob folder.
_WIDE_ROWS = 40_000
_TRAINED_ON = 30

#: Of submissions, folds and data sets alike: unique in this process.
_IDS = count(1)

_MODULE = """
import importlib
import time

import numpy as np

def prepare_data(raw_data_path):
    time.sleep({seconds})

def get_train_data(raw_data_path):
    X = np.arange({rows}, dtype=float)
    return X, X

def get_test_data(raw_data_path):
    X = np.arange({test_rows}, dtype=float)
    return X, X

def train_submission(module_path, X, y, train_is):
    return importlib.import_module(module_path + ".classifier").Classifier(train_is)

def test_submission(trained_model, X, test_is):
    return trained_model.predict(X[test_is])
"""

_SUBMISSION = """
import os
import re
import time

class Classifier:
    def __init__(self, train_is):
        print("trained on", train_is.sum())
        time.sleep({nap})
        self.slope = train_is.sum()

    def predict(self, X):
        time.sleep({nap})
        values = X * self.slope + {salt}
        values[0] = re.search(r"runner-(\\d+)@", os.getcwd())[1]
        return values
"""

_FAILING = """
class Classifier:
    def __init__(self, train_is):
        raise ValueError("on purpose")
"""


@dataclass(frozen=True)
class DataSet:
    """A posted data set: its train part has `rows` rows."""

    id: int
    rows: int


@dataclass(frozen=True)
class Fold:
    """A posted fold, and what it must give.

    `rows` are those of the train part, shuffled: the first ones are trained on. `salt` is None for one that must fail.
    """

    id: int
    submission: int
    n_train: int
    rows: tuple[int, ...]
    priority: str
    salt: int | None

    def right(self, part: str, runner: int) -> NDArray[np.float64]:
        """What it must predict on the runner with this number, shape (rows of the part,)."""
        assert self.salt is not None
        rows = np.arange(self.n_train if part == "train" else _TEST_ROWS, dtype=np.float64)
        values: NDArray[np.float64] = rows * self.slope + self.salt
        values[0] = runner
        return values

    @property
    def slope(self) -> int:
        return sum(self.rows[:_TRAINED_ON])


class Workload:
    """Posts data sets and folds, as an organiser would."""

    def __init__(self, client: Client, rng: random.Random) -> None:
        self._client, self._rng = client, rng

    def data_set(self, wide: bool = False, seconds: float = 0) -> DataSet:
        """Posts a data set whose preparation takes so many seconds; its folds wait until somebody asks for that."""
        rows = _WIDE_ROWS if wide else _TRAIN_ROWS
        module = _MODULE.format(seconds=seconds, rows=rows, test_rows=_TEST_ROWS)
        name = f"data{next(_IDS)}"
        # Large enough for the blob folder, and like no other.
        content = self._rng.randbytes(100_000 if wide else 100)
        with _files({f"{name}.bin": content, f"{name}.py": module.encode()}) as (data, code):
            posted = _json(post_api.post_data(*self._client, name, "", "classifier", data, [code]))
        return DataSet(posted["id"], rows)

    def prepare(self, data: DataSet) -> None:
        """Asks for the preparation of the data set."""
        _json(post_api.custom_post_split(*self._client, data.id))

    def folds(self, data: DataSet, number: int, nap: float = 0, fails: bool = False) -> list[Fold]:
        """Posts one submission with so many folds; each naps `nap` seconds in each of its three stages."""
        if not number:
            return []
        submission, salt = next(_IDS), None if fails else self._rng.randrange(1_000_000)
        shuffles = [self._rng.sample(range(_TRAIN_ROWS), _TRAIN_ROWS) for _ in range(number)]
        priorities = self._rng.choices("LLLH", k=number)
        folds = [
            Fold(next(_IDS), submission, data.rows, tuple(rows), priority, salt)
            for rows, priority in zip(shuffles, priorities, strict=True)
        ]
        code = _FAILING if fails else _SUBMISSION.format(nap=nap, salt=salt)
        with _files({"classifier.py": code.encode()}) as files:
            self._post(folds[0], data.id, files)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._post, folds[1:]))
        return folds

    def _post(self, fold: Fold, data: int | None = None, files: list[Path] | None = None) -> None:
        ids = (fold.submission, fold.id)
        indices = (fold.rows[:_TRAINED_ON], fold.rows[_TRAINED_ON:])
        _json(post_api.post_submission_fold(*self._client, *ids, *indices, fold.priority, data, files))


@contextmanager
def _files(contents: dict[str, bytes]) -> Iterator[list[Path]]:
    """Files with these contents, for as long as it lasts."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in contents]
        for path in paths:
            path.write_bytes(contents[path.name])
        yield paths


def _json(response: requests.Response) -> Any:
    assert response.ok, f"{response.status_code} {response.text}"
    return response.json()
