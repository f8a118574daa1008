"""The only process that imports a submission. Says how far it has come, line by line, on a pipe.

It holds no credentials and no labels but those to train on; what it says or writes is not believed: the
supervisor checks and limits it. Forked from a zygote that has X already; or, to load a data set for one or to
prepare it, to run the organiser's code alone.
"""

import contextlib
import errno
import json
import os
import pickle
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np

from datarun.contract import npy
from datarun.contract import predictions as transferred
from datarun.contract.failures import FailureKind
from datarun.contract.states import JobKind, Stage
from datarun.runner import predictions
from datarun.runner.scoring import Labels, Scoring
from datarun.runner.workflows import Warm, data_set

from . import lockdown, tracebacks
from .task import LOAD, MAX_RSS_UNIT, SCORE, JobFolder, Task, fold_rows, predicted_parts

Result = TypeVar("Result")

_DISK_FULL = (errno.EFBIG, errno.ENOSPC, errno.EDQUOT)


class Failed(Exception):
    """The job has failed: how, and what to tell whom it concerns."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind, self.message = kind, message


class Child:
    """Runs one task in the folder `job`, on what its zygote has; reports to the descriptor `status`."""

    def __init__(self, job: Path, zygote: Warm, status: int) -> None:
        self._folder, self._zygote, self._status = JobFolder(job), zygote, status
        self._places = (self._folder.submission, zygote.data, self._folder.data, self._folder.root)
        self._measures: dict[str, float] = {}
        self._soft_over, self._process = False, os.getpid()

    def main(self, task: Task) -> None:
        self._take_up(task)
        self._say(event="started")
        try:
            made = self._tasks[task.kind](task)
        except Failed as failure:
            self._say(event="failed", kind=failure.kind, message=failure.message, measures=self._measures)
        else:
            # What it has printed must have left this process before it is said to be done.
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            self._say(event="done", measures=self._measures, **made)

    @property
    def _tasks(self) -> dict[str, Callable[[Task], dict[str, Any]]]:
        return {
            JobKind.PREPARE: self._prepare,
            LOAD: self._load,
            JobKind.FOLD: self._run_fold,
            SCORE: self._score,
            JobKind.ENSEMBLE: self._combine,
        }

    def settle_in(self) -> None:
        """All that can be done before the task is known."""
        folder, home = self._folder, self._folder.home
        for name in ("HOME", "TMPDIR", "JOBLIB_TEMP_FOLDER"):
            os.environ[name] = str(home)
        tempfile.tempdir = None  # found anew, below the new home
        os.chdir(home)
        readable = [folder.root, *self._zygote.readable]
        os.utime = _leave_times(os.utime)
        # Two of them are there for a preparation only.
        lockdown.lock_child((home, folder.data, folder.out), readable)

    def _take_up(self, task: Task) -> None:
        lockdown.limit_child(task.memory + self._zygote.mapped, task.disk)
        _use_threads(task.threads)
        random.seed(task.seed)
        np.random.seed(task.seed % (1 << 32))  # the generator that submissions use
        self._set_soft_limit(task.soft)

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
        if os.getpid() != self._process:
            os._exit(1)  # a submission has forked, and its copy came back here: it has nothing to say
        self._write(json.dumps(report).encode() + b"\n")

    def _write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            left = left[os.write(self._status, left) :]

    # --- preparing and loading a data set --------------------------------------------------------

    def _prepare(self, task: Task) -> dict[str, Any]:
        source = self._folder.data / task.source
        made = self._organisers(lambda: data_set(task.data_set).prepare(task, source))
        counts = {"n_train": made.n_train, "n_test": made.n_test}
        for name, rows in made.rows.items():
            self._put_out(name, rows)
        if made.folds is not None:
            counts["n_folds"] = len(made.folds)
            for number, fold in enumerate(made.folds):
                for name, rows in zip(fold_rows(number), fold, strict=True):
                    self._put_out(name, rows)
        # Whether folds, which read less, can have the module too.
        lockdown.lock_data([self._folder.data / name for name in made.readable], self._folder.home)
        self._organisers(lambda: data_set(task.data_set).take_over(source))
        return {"counts": counts, "facts": made.facts}

    def _put_out(self, name: str, rows: Any) -> None:
        (self._folder.out / f"{name}.npy").write_bytes(npy.dumps(rows))

    def _load(self, task: Task) -> dict[str, Any]:
        """X, and what else a fold needs of the data, goes into home/prepared for the zygote; labels into
        home/<part>_labels, for nobody but the supervisor."""
        source = self._zygote.data / task.source
        home = self._folder.home

        def load() -> Any:
            loaded = data_set(task.data_set).load(task, source)
            with (home / "prepared").open("wb") as file:
                pickle.dump(loaded.prepared, file, protocol=pickle.HIGHEST_PROTOCOL)
            for part, content in loaded.labels.items():
                (home / f"{part}_labels").write_bytes(content)
            return loaded

        loaded = self._organisers(load)
        counts = {"n_train": loaded.n_train, "n_test": loaded.n_test}
        return {"counts": counts, "readable": list(loaded.readable)}

    def _organisers(self, call: Callable[[], Result]) -> Result:
        """What `call` returns; what it raises is the organiser's to mend."""
        try:
            return call()
        except (Exception, SystemExit) as error:
            kind = self._kind_of(error, otherwise=FailureKind.DATA)
            raise Failed(kind, tracebacks.describe(error, self._places)) from error

    # --- a fold --------------------------------------------------------------------------------

    def _run_fold(self, task: Task) -> dict[str, Any]:
        workflow = data_set(task.data_set).workflow(task, self._folder.submission, self._zygote)
        sys.path.insert(0, str(self._folder.root))  # the submission is a package there
        train_is = task.indices("train_is")
        model = self._submitters("train", lambda: workflow.train(train_is))
        self._say(event="stage", stage=Stage.TRAINED)
        predicted = self._submitters("validation", lambda: workflow.predict_train(model))
        self._hand_over(task, "train", workflow.n_train, predicted)
        self._say(event="stage", stage=Stage.VALIDATED)
        predicted = self._submitters("test", lambda: workflow.predict_test(model))
        if workflow.n_test is not None:
            self._hand_over(task, "test", workflow.n_test, predicted)
        return {}

    def _hand_over(self, task: Task, part: str, rows: int, predicted: Any) -> None:
        try:
            array = data_set(task.data_set).check(predicted, rows, f"{part} part")
        except predictions.BadOutput as error:
            raise Failed(FailureKind.BAD_OUTPUT, str(error)) from error
        content = transferred.dumps(array)
        self._say(event="predictions", part=part, size=len(content))
        self._write(content)

    # --- scoring: no submission's code has run in this process, nor will ---------------------------

    def _score(self, task: Task) -> dict[str, Any]:
        """The scores of one fold."""
        from datarun.runner.scoring import ensembles

        train, test = map(_predicted, (task.arrays.get(part) for part in ("train", "test")))
        predicted = ensembles.FoldPredictions(0, 0, train, test)
        rows = (task.indices("train_is"), task.indices("test_is"))
        scoring, y = self._scoring(task)
        return {
            "scores": self._scored(
                lambda: ensembles.score_fold(scoring, y, predicted, *rows), FailureKind.BAD_OUTPUT
            )
        }

    def _combine(self, task: Task) -> dict[str, Any]:
        """The scores of several folds, of one submission or of several, and of their combination."""
        from datarun.runner.scoring import ensembles

        predicted = []
        for number, (submission, fold) in enumerate(task.predicted):
            train, test = map(_predicted, (task.arrays.get(name) for name in predicted_parts(number)))
            predicted.append(ensembles.FoldPredictions(submission, fold, train, test))
        names = [fold_rows(number) for number in range(task.given_folds)]
        folds = [(task.indices(train_is), task.indices(test_is)) for train_is, test_is in names]
        scoring, y = self._scoring(task)
        combine = ensembles.blend if task.blend else ensembles.bag
        return {"facts": self._scored(lambda: combine(scoring, y, predicted, folds), FailureKind.DATA)}

    def _scoring(self, task: Task) -> tuple[Scoring, Labels]:
        return self._organisers(lambda: data_set(task.data_set).scoring(task, self._zygote))

    def _scored(self, call: Callable[[], Result], unfit: FailureKind) -> Result:
        """What `call` returns; `unfit` is whose failure it is that a metric can't score what was predicted."""
        from datarun.runner.scoring import ScoringError

        try:
            return call()
        except ScoringError as error:
            raise Failed(unfit, str(error)) from error
        except Exception as error:
            raise Failed(FailureKind.DATA, tracebacks.describe(error, self._places)) from error

    def _submitters(self, stage: str, call: Callable[[], Result]) -> Result:
        """What `call` returns, measured; what it raises is the submission's."""
        start, start_cpu = time.perf_counter(), _cpu_seconds()
        try:
            return call()
        except BaseException as error:  # SystemExit too: all of it is the submission's doing
            kind = self._kind_of(error, otherwise=FailureKind.USER_ERROR)
            raise Failed(kind, tracebacks.describe(error, self._places)) from error
        finally:
            self._measures[f"{stage}_time"] = time.perf_counter() - start
            if stage != "validation":
                self._measures[f"{stage}_cpu_time"] = _cpu_seconds() - start_cpu
                self._measures[f"{stage}_memory"] = _peak_memory()


def _predicted(content: bytes | None) -> Any:
    return None if content is None else transferred.loads(content)


def _leave_times(utime: Callable[..., None]) -> Callable[..., None]:
    """Nobody may change a file's times, which much harmless code does after copying one."""

    def tolerant(path: Any, *args: Any, **kwargs: Any) -> None:
        try:
            utime(path, *args, **kwargs)
        except PermissionError:
            os.stat(path)  # noqa: PTH116  # raises if it is not there; may be a descriptor

    return tolerant


def _use_threads(number: int) -> None:
    """Native libraries were loaded for one thread, so that none was running when this process was forked."""
    if number > 1:
        from threadpoolctl import threadpool_limits

        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT"):
            os.environ[name] = str(number)
        threadpool_limits(number)


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_memory() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAX_RSS_UNIT / (1 << 20)
