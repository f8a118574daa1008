"""Where submissions of the sandbox's tests run, and what tells whether one of them got out."""

import hashlib
import os
import site
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from datarun.contract.messages import Data, Limits, Outcome
from datarun.runner.sandbox import landlock, seccomp
from tests.bench import TOY, Bench, succeeded
from tests.sandbox.common.right import Right

FOLDER = Path(__file__).parent
COMMON = FOLDER / "common"
MARKER = "escaped-from-the-sandbox"
IRIS = FOLDER.parents[1] / "test_files" / "iris" / "iris.csv"
#: For tests that need all of it.
SANDBOX = pytest.mark.skipif(
    not (landlock.version() and seccomp.available()), reason="this machine can't keep submissions in"
)


class Lab:
    """A bench with a zygote for each of two data sets, and what submissions are not to reach."""

    def __init__(self, bench: Bench, outside: Path) -> None:
        self.bench, self.outside = bench, outside
        outside.chmod(0o777)
        self.secret = outside / "secret"
        self.secret.write_text("secret")
        raw = bench.files({"toy.py": TOY, "raw.csv": "a,y\n1,2\n"})
        rows = (np.arange(120), np.arange(120, 150))
        self.data = {
            "toy": Data(raw, "y", module="toy.py", n_train=8, n_test=4),
            "csv": bench.csv(IRIS, "species", rows),
        }
        self._raw = raw["raw.csv"]
        for data in self.data:
            self.innocent(data)

    @classmethod
    @contextmanager
    def open(cls, folders: pytest.TempPathFactory) -> Iterator["Lab"]:
        folder = folders.mktemp("bench")
        if os.geteuid() == 0:  # where users that folds may be can get to
            for path in (folder, *folder.parents[:2]):
                path.chmod(0o711)
        with Bench.serving(folder) as bench:
            yield cls(bench, folders.mktemp("outside"))

    def surroundings(self) -> dict[str, str]:
        """What an attacker may well know."""
        (raw,) = self.bench.scratch.glob("*/data/raw.csv")
        return {
            "SUPERVISOR": str(os.getpid()),
            "HOST": self.bench.blobs.url.removeprefix("http://"),
            "SECRET": str(self.secret),
            "CACHED": str(self.bench.store.path(self._raw)),
            "CACHE": str(self.bench.store.path(self._raw).parents[1]),
            "RAW": str(raw),
            "SCRATCH": str(self.bench.scratch),
            "OUTSIDE": str(self.outside),
            "MARKER": MARKER,
        }

    def submission(self, case: str) -> dict[str, str]:
        files = {
            path.name: path.read_text() for path in (*COMMON.glob("*.py"), *(FOLDER / case).glob("*.py"))
        }
        for name, value in self.surroundings().items():
            files = {file: text.replace(f"@{name}@", value) for file, text in files.items()}
        return files

    def run(
        self, submission: dict[str, str], limits: Limits, data: str = "toy", watcher: Any = None
    ) -> Outcome:
        rows = np.arange(6 if data == "toy" else 100)
        return self.bench.run(
            self.bench.fold(self.data[data], ("classifier",), submission, rows, limits), watcher
        )

    def innocent(self, data: str) -> None:
        """A fold of somebody else succeeds."""
        submission = {
            "classifier.py": (COMMON / "right.py").read_text() + "\n\nclass Classifier(Right): pass\n"
        }
        self.check_predictions(self.run(submission, Limits(20.0, 1 << 30), data), data)

    def check_predictions(self, outcome: Outcome, data: str) -> None:
        for part, rows in (("train", self.data[data].n_train), ("test", self.data[data].n_test)):
            np.testing.assert_array_equal(
                succeeded(outcome).arrays[part], Right().predict_proba([None] * (rows or 0))
            )

    def zygotes(self) -> set[int]:
        return {process.pid for process in psutil.Process().children()}

    def state(self) -> dict[str, Any]:
        """All that submissions are to leave as it is."""
        files = [
            *self.outside.rglob("*"),
            *(path for path in self.bench.scratch.glob("*/*") if path.name != "log"),
        ]
        cached = [path for path in self.bench.store.path(self._raw).parents[1].rglob("*") if path.is_file()]
        places = [Path(site.getsitepackages()[0]), sys.prefix, Path.home(), Path.cwd(), FOLDER]
        places += ["/tmp", "/var/tmp", "/dev", "/dev/shm", "/etc", "/", Path(np.__file__).parent]
        places += [self.bench.scratch, *self.bench.scratch.iterdir(), *self.bench.scratch.glob("*/*")]
        return {
            "files": sorted(map(str, files)),
            "marked": [str(place) for place in places if os.path.lexists(f"{place}/{MARKER}")],
            "damaged": [path for path in cached if _digest(path) != path.name],
            "writable": [path for path in cached if path.stat().st_mode & 0o222],
            "secret": _state(self.secret),
            "library": _state(Path(np.__file__)),
            "nice": psutil.Process().nice(),
            "zygotes": sorted((pid, psutil.Process(pid).nice()) for pid in self.zygotes()),
        }


def _state(path: Path) -> tuple[Any, ...]:
    status = path.stat()
    return _digest(path), status.st_mode, status.st_uid, status.st_mtime_ns, status.st_nlink


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
