"""What a child is told, and where it works. Plain values and arrays; no secrets, for the submission can read them."""

import json
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The submission's package name in the child.
PACKAGE = "submission"
#: Kinds of tasks that no order asks for: loading a data set for its zygote; scoring what a fold has predicted.
LOAD = "load"
SCORE = "score"
#: Bytes of predictions, at most.
MAX_OUTPUT = 1 << 30
#: The unit of `ru_maxrss` in bytes (getrusage(2)): the kernel counts in KiB, macOS in bytes.
MAX_RSS_UNIT = 1 if sys.platform == "darwin" else 1 << 10
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Task:
    """What the child is to do: prepare or load a data set, run a fold, score or combine predictions."""

    kind: str
    # Bytes of memory, bytes of one file, and seconds until the soft limit tells the job to finish.
    memory: int
    disk: int
    soft: float | None = None
    # Processors that its native libraries may use, and what its random generators start from.
    threads: int = 1
    seed: int = 0
    # "csv", "module" or "kit"; the csv's or the module's file name in data/.
    data_set: str = "csv"
    source: str = ""
    data_label: str | None = None
    target_column: str = ""
    elements: tuple[str, ...] = ()
    held_out_test: float | None = None
    random_state: int | None = None
    metrics: tuple[str, ...] = ()
    # How to cut folds: `splitter`, `parameters` and `groups`, and how many are given among the arrays.
    cv: Mapping[str, Any] | None = None
    given_folds: int = 0
    # What to combine: submission and fold number of each, whose predictions are among the arrays.
    predicted: tuple[tuple[int, int], ...] = ()
    blend: bool = False
    # Index arrays (int64, little-endian), labels (`labels.dumps`) and predictions: bytes, not part of the header.
    arrays: Mapping[str, bytes] = field(default_factory=dict)

    def encode(self) -> bytes:
        header = {name: getattr(self, name) for name in self.__slots__}
        header |= {"arrays": {name: len(content) for name, content in self.arrays.items()}}
        text = json.dumps(header).encode()
        return b"".join((_LENGTH.pack(len(text)), text, *self.arrays.values()))

    def indices(self, name: str) -> NDArray[np.int64]:
        return np.frombuffer(self.arrays[name], dtype="<i8").astype(np.int64)

    @classmethod
    def decode(cls, content: bytes) -> "Task":
        (length,) = _LENGTH.unpack_from(content)
        at = _LENGTH.size + length
        header: dict[str, Any] = json.loads(content[_LENGTH.size : at])
        arrays = {}
        for name, size in header["arrays"].items():
            arrays[name] = content[at : at + size]
            at += size
        tuples = {name: tuple(header[name]) for name in ("elements", "metrics")}
        predicted = tuple((submission, fold) for submission, fold in header["predicted"])
        return cls(**header | tuples | {"predicted": predicted, "arrays": arrays})


def fold_rows(number: int) -> tuple[str, str]:
    """What the arrays of the fold with this number are called, here and in files: rows to train and to validate on."""
    return f"cv.{number}.train_is", f"cv.{number}.test_is"


def predicted_parts(number: int) -> tuple[str, str]:
    """The same for the predictions of the train part and of the test part."""
    return f"predicted.{number}.train", f"predicted.{number}.test"


@dataclass(frozen=True, slots=True)
class JobFolder:
    """Where one job works, below `root`.

    submission/    the submission's files, an importable package
    data/          for a preparation: copies of the data set's files
    out/           for a preparation: what it made, read with distrust
    home/          its current folder, home and temporary folder
    """

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def submission(self) -> Path:
        return self.root / PACKAGE

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def home(self) -> Path:
        return self.root / "home"
