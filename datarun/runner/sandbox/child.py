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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np

from datarun.contract import npy
from datarun.contract import predictions as transferred
from datarun.contract.failures import FailureKind
from datarun.contract.states import JobKind, Stage
from datarun.runner import predictions
from datarun.runner.workflows import Workflow

from . import labels, lockdown, tracebacks
from .task import LOAD, MAX_RSS_UNIT, PACKAGE, SCORE, JobFolder, Task, fold_rows, predicted_parts

Result = TypeVar("Result")

_DISK_FULL = (errno.EFBIG, errno.ENOSPC, errno.EDQUOT)
_READABLE = "READABLE_BY_SUBMISSIONS"


@dataclass
class Warm:
    """What a zygote has for its children: where the raw data lie, what of them may be read, and what was loaded."""

    data: Path
    readable: Sequence[Path] = ()
    module: Any = None
    prepared: Any = None


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
        self._settle_in(task)
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

    def _settle_in(self, task: Task) -> None:
        folder = self._folder
        os.environ.update(HOME=str(folder.home), TMPDIR=str(folder.home), JOBLIB_TEMP_FOLDER=str(folder.home))
        tempfile.tempdir = None  # found anew, below the new home
        os.chdir(folder.home)
        writable = [folder.home] if task.kind != JobKind.PREPARE else [folder.home, folder.data, folder.out]
        readable = [folder.root, *self._zygote.readable]
        os.utime = _leave_times(os.utime)
        lockdown.lock_child(writable, readable, task.memory + _mapped(), task.disk)
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
        groups = None
        if task.custom:
            y_train, y_test = self._organisers(lambda: _prepare_custom(source))
        else:
            train, test, y_train, y_test, groups = self._organisers(lambda: _split_csv(source, task))
            self._put_out("train_rows", train)
            self._put_out("test_rows", test)
        counts = {"n_train": len(y_train), "n_test": len(y_test)}
        if task.cv is not None:
            counts["n_folds"] = self._organisers(lambda: self._cut(task, y_train, y_test, groups))
        return {"counts": counts}

    def _cut(self, task: Task, y_train: Any, y_test: Any, groups: Any) -> int:
        """Cuts the folds, and tries on the labels what folds will be scored with; returns how many."""
        from datarun.runner.workflows import folds

        assert task.cv is not None
        y_train, y_test = np.asarray(y_train), np.asarray(y_test)
        if task.cv["splitter"]:
            made = folds.cut(task.cv["splitter"], task.cv["parameters"], y_train, groups)
        else:
            names = [fold_rows(number) for number in range(task.given_folds)]
            made = [(task.indices(train_is), task.indices(test_is)) for train_is, test_is in names]
        folds.check(made, len(y_train))
        if "classifier" in task.elements and task.metrics:
            folds.check_classes(made, y_train)
        folds.check_metrics(task.metrics, made, y_train, y_test)
        for number, rows in enumerate(made):
            for name, array in zip(fold_rows(number), rows, strict=True):
                self._put_out(name, array)
        return len(made)

    def _put_out(self, name: str, rows: Any) -> None:
        (self._folder.out / f"{name}.npy").write_bytes(npy.dumps(rows))

    def _load(self, task: Task) -> dict[str, Any]:
        """X, and what else a fold needs of the data, goes into home/prepared for the zygote; labels into
        home/<part>_labels, for nobody but the supervisor."""
        data = self._zygote.data
        source = data / task.source
        readable: list[str] = []
        if task.custom:
            from datarun.runner.workflows import custom

            def load() -> Any:
                module = custom.import_custom(source)
                readable.extend(getattr(module, _READABLE, ()))
                return custom.load(module, data)

            *prepared, y_test = self._organisers(load)
            y_train, n_test = prepared[1], len(y_test)
            prepared.append(n_test)
            n_train = len(y_train)
        else:
            from datarun.runner.workflows import tabular

            rows = (task.indices("train_rows"), task.indices("test_rows"))
            load_csv = lambda: tabular.load(source, task.target_column, *rows)  # noqa: E731
            *prepared, y_train, y_test = self._organisers(load_csv)
            n_train, n_test = map(len, rows)
        for part, y in (("train", y_train), ("test", y_test)):
            with contextlib.suppress(TypeError, ValueError):  # labels that only their own module understands
                (self._folder.home / f"{part}_labels").write_bytes(labels.dumps(np.asarray(y)))

        def hand_over() -> None:
            with (self._folder.home / "prepared").open("wb") as file:
                pickle.dump(prepared, file, protocol=pickle.HIGHEST_PROTOCOL)

        self._organisers(hand_over)
        return {"counts": {"n_train": n_train, "n_test": n_test}, "readable": readable}

    def _organisers(self, call: Callable[[], Result]) -> Result:
        """What `call` returns; what it raises is the organiser's to mend."""
        try:
            return call()
        except (Exception, SystemExit) as error:
            kind = self._kind_of(error, otherwise=FailureKind.DATA)
            raise Failed(kind, tracebacks.describe(error, self._places)) from error

    # --- a fold --------------------------------------------------------------------------------

    def _run_fold(self, task: Task) -> dict[str, Any]:
        workflow = self._workflow(task)
        sys.path.insert(0, str(self._folder.root))  # the submission is a package there
        train_is = task.indices("train_is")
        model = self._submitters("train", lambda: workflow.train(train_is))
        self._say(event="stage", stage=Stage.TRAINED)
        self._predict("validation", "train", workflow.n_train, lambda: workflow.predict_train(model))
        self._say(event="stage", stage=Stage.VALIDATED)
        self._predict("test", "test", workflow.n_test, lambda: workflow.predict_test(model))
        return {}

    # --- scoring: no submission's code has run in this process, nor will ---------------------------

    def _score(self, task: Task) -> dict[str, Any]:
        """The scores of one fold."""
        from datarun.runner.scoring import ensembles

        given = task.arrays
        predicted = ensembles.FoldPredictions(
            0, 0, transferred.loads(given["train"]), transferred.loads(given["test"])
        )
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

        given = task.arrays
        predicted = []
        for number, (submission, fold) in enumerate(task.predicted):
            parts = [given.get(name) for name in predicted_parts(number)]
            train, test = (None if part is None else transferred.loads(part) for part in parts)
            predicted.append(ensembles.FoldPredictions(submission, fold, train, test))
        names = [fold_rows(number) for number in range(task.given_folds)]
        folds = [(task.indices(train_is), task.indices(test_is)) for train_is, test_is in names]
        scoring, y = self._scoring(task)
        combine = ensembles.blend if task.blend else ensembles.bag
        return {"facts": self._scored(lambda: combine(scoring, y, predicted, folds), FailureKind.DATA)}

    def _scoring(self, task: Task) -> tuple[Any, Any]:
        from datarun.runner.scoring.builtin import BuiltIn
        from datarun.runner.scoring.ensembles import Labels

        y = Labels(*(_plain(labels.loads(task.arrays[f"{part}_labels"])) for part in ("train", "test")))
        return self._organisers(lambda: BuiltIn(task.metrics, y.train)), y

    def _scored(self, call: Callable[[], Result], unfit: FailureKind) -> Result:
        """What `call` returns; `unfit` is whose failure it is that a metric can't score what was predicted."""
        from datarun.runner.scoring import ScoringError

        try:
            return call()
        except ScoringError as error:
            raise Failed(unfit, str(error)) from error
        except Exception as error:
            raise Failed(FailureKind.DATA, tracebacks.describe(error, self._places)) from error

    def _workflow(self, task: Task) -> Workflow:
        if task.custom:
            from datarun.runner.workflows.custom import CustomWorkflow

            return CustomWorkflow(PACKAGE, self._zygote.module, *self._zygote.prepared)
        from datarun.runner.workflows.tabular import TabularWorkflow

        return TabularWorkflow(PACKAGE, task.elements, labels.loads(task.arrays["y"]), *self._zygote.prepared)

    def _predict(self, stage: str, part: str, rows: int, call: Callable[[], Any]) -> None:
        values = self._submitters(stage, call)
        try:
            array = predictions.check(values, rows, f"{part} part")
        except predictions.BadOutput as error:
            raise Failed(FailureKind.BAD_OUTPUT, str(error)) from error
        content = npy.dumps(array)
        self._say(event="predictions", part=part, size=len(content))
        self._write(content)

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


def _split_csv(source: Path, task: Task) -> Any:
    from datarun.runner.workflows.preparation import split_csv

    assert task.held_out_test is not None
    assert task.random_state is not None
    groups = task.cv["groups"] if task.cv else None
    return split_csv(source, task.target_column, task.held_out_test, task.random_state, groups)


def _prepare_custom(source: Path) -> tuple[Any, Any]:
    from datarun.runner.workflows.custom import prepare_custom

    return prepare_custom(source)


def _plain(y: Any) -> Any:
    """Texts as an array of text, which scikit-learn prefers to one of objects."""
    return np.array(y.tolist()) if y.dtype == object else y


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


def _mapped() -> int:
    """Bytes of private memory that came with the zygote."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        return pages * resource.getpagesize()
    return 0


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_memory() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAX_RSS_UNIT / (1 << 20)
