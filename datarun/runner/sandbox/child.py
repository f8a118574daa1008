"""The only process that imports a submission. Says how far it has come, line by line, on a pipe.

It holds no credentials, and what it says or writes is not believed: the supervisor checks and limits it.
"""

import errno
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from datarun.contract import npy
from datarun.contract.failures import FailureKind
from datarun.contract.states import JobKind, Stage
from datarun.runner import predictions
from datarun.runner.workflows import Workflow

from . import tracebacks
from .folder import MAX_RSS_UNIT, PACKAGE, JobFolder, Task

Result = TypeVar("Result")

_DISK_FULL = (errno.EFBIG, errno.ENOSPC, errno.EDQUOT)


class Failed(Exception):
    """The job has failed: how, and what to tell whom it concerns."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind, self.message = kind, message


class Child:
    """Runs the task in `folder`; reports to the file descriptor `status`."""

    def __init__(self, folder: JobFolder, status: int) -> None:
        self._folder, self._status = folder, status
        self._measures: dict[str, float] = {}
        self._soft_over = False

    def main(self, task: Task) -> None:
        self._set_soft_limit(task.soft)
        try:
            counts = self._prepare(task) if task.kind == JobKind.PREPARE else self._run_fold(task)
        except Failed as failure:
            self._say(event="failed", kind=failure.kind, message=failure.message, measures=self._measures)
        except Exception as error:
            # Our own, or of a submission that broke what we need: only the log can tell.
            sys.stderr.write(tracebacks.describe(error, self._folder) + "\n")
            raise
        else:
            self._say(event="done", counts=counts, measures=self._measures)

    def _set_soft_limit(self, seconds: float | None) -> None:
        """After this time the job's main thread gets an exception, which it may catch to finish in time."""
        if seconds is None:
            return

        def tell(number: int, frame: FrameType | None) -> None:
            self._soft_over = True
            raise TimeoutError(f"The soft time limit of {seconds:g} s is over: finish now.")

        signal.signal(signal.SIGALRM, tell)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def _kind_of(self, error: BaseException, otherwise: FailureKind) -> FailureKind:
        if isinstance(error, MemoryError):
            return FailureKind.MEMORY
        if isinstance(error, TimeoutError) and self._soft_over:
            return FailureKind.TIMEOUT
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            return FailureKind.DISK
        return otherwise

    def _say(self, **report: Any) -> None:
        os.write(self._status, json.dumps(report).encode() + b"\n")

    # --- preparing a data set ------------------------------------------------------------------

    def _prepare(self, task: Task) -> dict[str, int]:
        source = self._folder.data / task.source
        if task.custom:
            n_train, n_test = self._organisers(lambda: _prepare_custom(source))
        else:
            train, test = self._organisers(lambda: _split_csv(source, task))
            for name, rows in (("train_rows", train), ("test_rows", test)):
                (self._folder.out / f"{name}.npy").write_bytes(npy.dumps(rows))
            n_train, n_test = len(train), len(test)
        return {"n_train": n_train, "n_test": n_test}

    def _organisers(self, call: Callable[[], Result]) -> Result:
        """What `call` returns; what it raises is the organiser's to mend."""
        try:
            return call()
        except (Exception, SystemExit) as error:
            kind = self._kind_of(error, otherwise=FailureKind.DATA)
            raise Failed(kind, tracebacks.describe(error, self._folder)) from error

    # --- a fold --------------------------------------------------------------------------------

    def _run_fold(self, task: Task) -> dict[str, int]:
        workflow = self._organisers(lambda: self._load(task))
        sys.path.insert(0, str(self._folder.root))  # the submission is a package there
        train_is = npy.loads(self._folder.array("train_is").read_bytes())
        model = self._submitters("train", lambda: workflow.train(train_is))
        self._say(event="stage", stage=Stage.TRAINED)
        self._predict("validation", "train", workflow.n_train, lambda: workflow.predict_train(model))
        self._say(event="stage", stage=Stage.VALIDATED)
        self._predict("test", "test", workflow.n_test, lambda: workflow.predict_test(model))
        return {}

    def _load(self, task: Task) -> Workflow:
        source = self._folder.data / task.source
        workflow = _custom(source) if task.custom else self._tabular(source, task)
        workflow.load()
        if (workflow.n_train, workflow.n_test) != (task.n_train, task.n_test):
            raise ValueError(
                f"The data have {workflow.n_train} train and {workflow.n_test} test rows now; "
                f"there were other numbers when they were prepared: {task.n_train} and {task.n_test}."
            )
        return workflow

    def _tabular(self, source: Path, task: Task) -> Workflow:
        from datarun.runner.workflows.tabular import TabularWorkflow

        train, test = (npy.loads(self._folder.array(n).read_bytes()) for n in ("train_rows", "test_rows"))
        return TabularWorkflow(source, task.target_column, (train, test), task.elements, PACKAGE)

    def _predict(self, stage: str, part: str, rows: int, call: Callable[[], Any]) -> None:
        values = self._submitters(stage, call)
        try:
            array = predictions.check(values, rows, f"{part} part")
        except predictions.BadOutput as error:
            raise Failed(FailureKind.BAD_OUTPUT, str(error)) from error
        try:
            (self._folder.out / f"{part}.npy").write_bytes(npy.dumps(array))
        except OSError as error:
            kind = self._kind_of(error, otherwise=FailureKind.USER_ERROR)
            raise Failed(
                kind, f"The predictions of the {part} part can't be written: {error.strerror}."
            ) from error

    def _submitters(self, stage: str, call: Callable[[], Result]) -> Result:
        """What `call` returns, measured; what it raises is the submission's."""
        start, start_cpu = time.perf_counter(), _cpu_seconds()
        try:
            return call()
        except BaseException as error:  # SystemExit too: all of it is the submission's doing
            kind = self._kind_of(error, otherwise=FailureKind.USER_ERROR)
            raise Failed(kind, tracebacks.describe(error, self._folder)) from error
        finally:
            self._measures[f"{stage}_time"] = time.perf_counter() - start
            if stage != "validation":
                self._measures[f"{stage}_cpu_time"] = _cpu_seconds() - start_cpu
                self._measures[f"{stage}_memory"] = _peak_memory()


def _split_csv(source: Path, task: Task) -> tuple[Any, Any]:
    from datarun.runner.workflows.preparation import split_csv

    assert task.held_out_test is not None
    assert task.random_state is not None
    return split_csv(source, task.target_column, task.held_out_test, task.random_state)


def _prepare_custom(source: Path) -> tuple[int, int]:
    from datarun.runner.workflows.custom import prepare_custom

    return prepare_custom(source)


def _custom(source: Path) -> Workflow:
    from datarun.runner.workflows.custom import CustomWorkflow

    return CustomWorkflow(source, PACKAGE)


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_memory() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAX_RSS_UNIT / (1 << 20)
