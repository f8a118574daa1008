"""What tests run jobs on: a real executor in a temporary folder, blobs over HTTP.

After every job `Bench.run` looks at whether a process, a file or an open descriptor of it is left.
`Bench.toy` runs submissions to a data set so small that a fold takes a fraction of a second.
"""

import gc
import hashlib
import os
import subprocess
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from datarun.contract.messages import Data, FoldOrder, Limits, Order, Outcome
from datarun.runner.blobs import BlobStore
from datarun.runner.executors.process import ProcessExecutor
from datarun.runner.sandbox.run import Watcher

MIB = 1 << 20
PATIENCE = 5.0  # seconds beyond its limit within which a job must be over
ROOM = Limits(wall=60.0, memory=1 << 30)

TOY = """
from importlib import import_module

def prepare_data(raw_data_path): pass

def get_train_data(raw_data_path):
    return list(range(8)), [0, 1] * 4

def get_test_data(raw_data_path):
    return list(range(4)), [0, 1] * 2

def train_submission(module_path, X, y, train_indices):
    classifier = import_module(".classifier", module_path).Classifier()
    classifier.fit([X[i] for i in train_indices], [y[i] for i in train_indices])
    return classifier

def test_submission(trained_model, X, test_indices):
    return trained_model.predict_proba([X[i] for i in test_indices])
"""
CLASSIFIER = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
{top}

class Classifier:
    def fit(self, X, y):
{fit}

    def predict_proba(self, X):
{predict}
"""
EVEN = "return np.full((len(X), 2), 0.5)"


def classifier(fit: str = "pass", predict: str = EVEN, top: str = "") -> dict[str, str | bytes | Path]:
    """A submission to the toy data set, made of the bodies of its functions."""
    parts = {"top": textwrap.dedent(top)}
    for name, body in (("fit", fit), ("predict", predict)):
        parts[name] = textwrap.indent(textwrap.dedent(body).strip("\n"), " " * 8)
    return {"classifier.py": CLASSIFIER.format(**parts)}


class Blobs(ThreadingHTTPServer):
    """Blobs over HTTP, in memory; `stored` are the hashes of those that came over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _BlobRequest)
        self.contents: dict[str, bytes] = {}
        self.stored: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def add(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        self.contents[sha256] = content
        return sha256


class _BlobRequest(BaseHTTPRequestHandler):
    server: Blobs

    def do_GET(self) -> None:
        content = self.server.contents.get(self.path.rpartition("/")[2])
        self._answer(404 if content is None else 200, content or b"")

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.stored.append(self.server.add(content))
        self._answer(201 if self.server.stored[-1] == self.path.rpartition("/")[2] else 400, b"")

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


class Stages(Watcher):
    """Which stages a job reached, in order."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    def stage(self, stage: str) -> None:
        self.reached.append(stage)


class Bench:
    """Runs orders the way a runner does."""

    def __init__(self, folder: Path, blobs: Blobs, spares: int = 0) -> None:
        self.blobs, self.scratch = blobs, folder / "scratch"
        self.store = BlobStore(blobs.url, "token", folder / "cache")
        self.executor = ProcessExecutor(self.store, self.scratch, threads=1, spares=spares)
        self.seconds = 0.0

    @classmethod
    @contextmanager
    def serving(cls, folder: Path, spares: int = 0) -> Iterator["Bench"]:
        with Blobs() as blobs:
            thread = threading.Thread(target=blobs.serve_forever, args=(0.05,))
            thread.start()
            bench = cls(folder.resolve(), blobs, spares)
            try:
                yield bench
            finally:
                bench.executor.close()
                assert leftovers(bench.scratch) == []
                assert list(bench.scratch.glob("*/jobs/*")) == []
                blobs.shutdown()
                thread.join()
                # pytest's own removal stumbles over what hostile submissions may leave.
                subprocess.run(["/bin/rm", "-rf", "--", folder / "scratch"], check=True)

    def run(self, order: Order, watcher: Watcher | None = None) -> Outcome:
        """The job's outcome, within its limit, and nothing left of it but the process that holds the data."""
        descriptors = self._descriptors()
        started = time.monotonic()
        outcome = self.executor.run(order, "r1", watcher or Watcher())
        self.seconds = time.monotonic() - started
        self.executor.settle()
        assert time.monotonic() - started < order.limits.wall + PATIENCE
        zygotes = {process.pid for process in psutil.Process().children()}
        assert [left for left in leftovers(self.scratch) if int(left.split(":")[0]) not in zygotes] == []
        assert [
            process.pid for process in psutil.process_iter(["ppid"]) if process.info["ppid"] in zygotes
        ] == []
        assert list(self.scratch.glob("*/jobs/*")) == []
        if not self._descriptors() <= descriptors:
            gc.collect()
            assert self._descriptors() <= descriptors
        assert (outcome.job, outcome.attempt, outcome.runner) == (order.job, order.attempt, "r1")
        return outcome

    def outcome(self, order: Order) -> Outcome:
        """The job's outcome, without a look at what is left of it: that takes longer than a small job."""
        outcome = self.executor.run(order, "r1", Watcher())
        assert isinstance(outcome, Outcome)
        return outcome

    def _descriptors(self) -> set[str]:
        """Pipes and files that this process has open. Sockets come and go with the blobs."""
        found = set()
        for link in Path("/proc/self/fd").iterdir() if Path("/proc/self/fd").exists() else ():
            with suppress(OSError):
                found.add(os.readlink(link))
        return {name for name in found if not name.startswith(("socket:", "/proc/"))}

    def files(self, contents: Mapping[str, str | bytes | Path]) -> dict[str, str]:
        return {name: self.blobs.add(_bytes(content)) for name, content in contents.items()}

    def indices(self, rows: Any) -> str:
        return self.blobs.add(np.asarray(rows, dtype="<i8").tobytes())

    def rows(self, sha256: str) -> np.ndarray:
        """The index array in a blob."""
        return np.frombuffer(self.blobs.contents[sha256], dtype="<i8")

    def csv(self, path: Path, target_column: str, rows: tuple[Any, Any]) -> Data:
        """A prepared csv whose parts are these rows."""
        return Data(
            files=self.files({path.name: path}),
            target_column=target_column,
            train_rows=self.indices(rows[0]),
            test_rows=self.indices(rows[1]),
            n_train=len(rows[0]),
            n_test=len(rows[1]),
        )

    def toy(
        self,
        submission: Mapping[str, str | bytes | Path],
        wall: float = 30.0,
        memory: int = 1 << 30,
        disk: int = 1 << 30,
        watcher: Watcher | None = None,
    ) -> Outcome:
        """The outcome of a submission to the toy data set."""
        limits = Limits(wall, memory, disk=disk)
        return self.run(
            self.fold(self.toy_data(), ("classifier",), submission, np.arange(6), limits), watcher
        )

    def toy_data(self) -> Data:
        """A prepared data set of 8 train and 4 test rows."""
        return Data(self.files({"toy.py": TOY}), "y", module="toy.py", n_train=8, n_test=4)

    def fold(
        self,
        data: Data,
        elements: tuple[str, ...],
        submission: Mapping[str, str | bytes | Path],
        train_is: Any,
        limits: Limits = ROOM,
        **more: Any,
    ) -> FoldOrder:
        return FoldOrder(
            job="job",
            attempt=1,
            data=data,
            limits=limits,
            about={"fold": 1, "submission": 1},
            submission=self.files(submission),
            elements=elements,
            train_is=self.indices(train_is),
            **more,
        )


def leftovers(folder: Path) -> list[str]:
    """The processes that work in `folder`, or were started for it; not those that have ended."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            traces = [*process.cmdline(), process.cwd(), *process.environ().values()]
            if any(str(folder) in trace for trace in traces):
                found.append(f"{process.pid}: {' '.join(process.cmdline())}")
    return found


def succeeded(outcome: Outcome) -> Outcome:
    assert outcome.failure is None, f"{outcome.failure}: {outcome.message}\n{outcome.log}"
    return outcome


def _bytes(content: str | bytes | Path) -> bytes:
    if isinstance(content, Path):
        return content.read_bytes()
    return content.encode() if isinstance(content, str) else content
