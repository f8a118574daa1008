"""Runs a job in a sandboxed process of its own, forked from one that has the data set in memory."""

import hashlib
import json
import logging
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from datarun.contract.failures import FailureKind
from datarun.contract.messages import (
    Data,
    EnsembleOrder,
    FoldOrder,
    HandedBack,
    Limits,
    Order,
    PrepareOrder,
    Result,
)
from datarun.contract.states import JobKind
from datarun.runner.blobs import BlobError, BlobStore
from datarun.runner.environments import Environment
from datarun.runner.sandbox import labels
from datarun.runner.sandbox import run as sandbox
from datarun.runner.sandbox.cgroup import Cgroups
from datarun.runner.sandbox.forked import Forked
from datarun.runner.sandbox.task import LOAD, SCORE, JobFolder, Task, predicted_parts
from datarun.runner.sandbox.warm import ModuleFailed, Zygote, ZygoteError, Zygotes, remove

from . import endings, scoring, transfers
from .endings import Refused
from .files import read_regular, safe
from .job import Interrupted, Job
from .transfers import Transfers

logger = logging.getLogger(__name__)

_PARTS = ("train", "test")
_UNDERTAKERS = 4
#: Bytes: the next fold waits until a child that had so much memory is gone, for both may not fit.
_HEAVY = 256 << 20
#: Jobs that have ended and are not buried yet, at most.
_MOST_FUNERALS = 8
#: What a zygote has imported before it has the data.
_IMPORTED = {
    "csv": ("datarun.runner.workflows.tabular",),
    "module": ("datarun.runner.workflows.custom",),
    "kit": ("datarun.runner.workflows.kit", "rampwf"),
}


class ProcessExecutor:
    """See `Executor`. It keeps a zygote for each data set of late; `close` ends them.

    `threads` is what a job's native libraries may use; `time_limit` and `soft_time_limit` are this runner's
    own limits in seconds, the smaller ones count. `name` tells its control groups from those of other runners.
    `spares` is how many children are forked ahead, at most, for the next folds on a data set. `environments`
    are the Pythons that data sets may ask for beside this one.
    """

    def __init__(
        self,
        blobs: BlobStore,
        scratch: Path,
        threads: int,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        name: str = "runner",
        spares: int = 0,
        environments: Mapping[str, Environment] | None = None,
    ) -> None:
        self._blobs, self._transfers, self._threads = blobs, Transfers(blobs), threads
        self._time_limit, self._soft_time_limit = time_limit, soft_time_limit
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._zygotes, self._spares = Zygotes(scratch), spares
        self._environments = {**(environments or {}), "": Environment()}
        self._cgroups = Cgroups(name)
        self._funerals: deque[Future[None]] = deque()
        self._undertaker = ThreadPoolExecutor(_UNDERTAKERS, thread_name_prefix="undertaker")

    def close(self) -> None:
        self.settle()
        self._undertaker.shutdown()
        self._zygotes.close()
        self._cgroups.close()

    def settle(self, most: int = 0) -> None:
        """Returns when nothing is left of the jobs that have ended, but for `most` of them."""
        while len(self._funerals) > most:
            with suppress(IndexError):  # another thread was faster
                self._funerals.popleft().result()

    def run(self, order: Order, runner: str, watcher: sandbox.Watcher) -> Result:
        job = Job(order, runner, watcher)
        try:
            self._run(job)
        except Refused as refused:
            job.failure, job.message = refused.kind, refused.message
        except Interrupted as interrupted:
            return interrupted.result
        except BlobError as error:
            if self._blobs.stopping:
                return HandedBack(order.job, order.attempt, runner)
            job.failure, job.message = FailureKind.ENVIRONMENT, str(error)
        except (OSError, ZygoteError) as error:
            job.failure, job.message = FailureKind.ENVIRONMENT, str(error)
        except Exception as error:
            logger.exception("job %s", order.job)
            job.failure, job.message = FailureKind.ENVIRONMENT, f"The runner failed: {error!r}"
        return job.outcome()

    def _run(self, job: Job) -> None:
        limits = self._limits(job.order)
        if isinstance(job.order, PrepareOrder):
            self._prepare(job, job.order, limits)
            return
        with ExitStack() as after:
            zygote = after.enter_context(self._zygote(job, job.order.data, limits))
            if isinstance(job.order, EnsembleOrder):
                self._ensemble(job, job.order, limits, zygote, after)
            else:
                self._fold(job, job.order, limits, zygote, after)
            left = after.pop_all()
        # Its processes are killed; that they and its folder go need not be waited for.
        funeral = self._undertaker.submit(_close, left)
        self._funerals.append(funeral)
        if job.left > _HEAVY:
            funeral.result()
        self.settle(_MOST_FUNERALS)

    def _limits(self, order: Order) -> Limits:
        wall = min(filter(None, (order.limits.wall, self._time_limit)))
        soft = min(filter(None, (order.limits.soft, self._soft_time_limit)), default=None)
        return replace(order.limits, wall=wall, soft=soft)

    def _fork(self, zygote: Zygote, folder: JobFolder) -> Forked:
        """A new child, which waits for its task in `folder`."""
        with ExitStack() as leaves:
            cgroup = leaves.enter_context(self._cgroups.one())
            child = Forked(zygote, folder, cgroup)
            child.leaves.push(leaves.pop_all())
        return child

    def _child(self, zygote: Zygote, folder: JobFolder, after: ExitStack) -> Forked:
        child = self._fork(zygote, folder)
        after.callback(child.dismiss)
        return child

    def _fork_for_fold(self, zygote: Zygote) -> Forked:
        folder = _new_folder(zygote)
        folder.submission.mkdir()
        zygote.give(folder.submission)
        try:
            child = self._fork(zygote, folder)
        except BaseException:
            remove(folder.root)
            raise
        child.leaves.callback(remove, folder.root)
        return child

    def _fork_ahead(self, zygote: Zygote) -> None:
        """For the next folds on this data set, when one has ended."""
        try:
            while len(zygote.spares) < self._spares:
                zygote.spares.append(self._fork_for_fold(zygote))
        except (OSError, ZygoteError) as error:  # a fold that needs one will say so
            logger.warning("no child could be forked ahead: %s", error)

    def _in_child(
        self, job: Job, zygote: Zygote, child: Forked, task: Task, limits: Limits, after: ExitStack
    ) -> sandbox.Ending:
        """Runs a task to its good end; raises `Refused` or `Interrupted`. `after` is what is to follow."""
        folder = child.folder
        run = sandbox.Run(child, task, limits, job.watcher)
        after.callback(run.bury)
        ending = run.supervise()
        job.left = max(job.left, ending.left)
        if ending.interrupt is not None:
            raise job.interrupted(ending.interrupt)
        if task.kind in (JobKind.FOLD, JobKind.PREPARE):
            job.stage, job.measures = ending.stage, endings.measures(ending)
        if task.kind != SCORE:  # what the organiser's metrics print may name labels
            job.log += ending.log.replace(f"{folder.root}/", "").replace(f"{zygote.folder}/", "")
        if ending.report.get("kind") == FailureKind.DISK and endings.is_full(folder.root):
            raise Refused(FailureKind.ENVIRONMENT, "This runner's disk is full.")
        theirs = FailureKind.USER_ERROR if task.kind == JobKind.FOLD else FailureKind.DATA
        endings.check(ending, theirs, limits.memory)
        return ending

    # --- preparing a data set ------------------------------------------------------------------------

    def _prepare(self, job: Job, order: PrepareOrder, limits: Limits) -> None:
        zygote = self._new_zygote(order.data)
        try:
            zygote.wait_until_ready(job.go_on)
            folder = _new_folder(zygote)
            for path in (folder.data, folder.out):
                path.mkdir()
            self._transfers.put_files(folder.data, order.data.files, copy=True)
            zygote.give(folder.data, folder.out)
            task = Task(
                kind=order.kind,
                memory=limits.memory,
                disk=limits.disk,
                soft=limits.soft,
                threads=self._threads,
                data_set=_kind(order.data),
                source=_source(order.data),
                data_label=order.data.data_label,
                target_column=order.data.target_column,
                elements=order.elements,
                held_out_test=order.held_out_test,
                random_state=order.random_state,
                metrics=order.metrics,
                cv=None if order.cv is None else asdict(replace(order.cv, folds=())),
                given_folds=len(order.cv.folds) if order.cv else 0,
                arrays=self._transfers.fold_rows(order.cv.folds if order.cv else ()),
            )
            with ExitStack() as after:
                ending = self._in_child(job, zygote, self._child(zygote, folder, after), task, limits, after)
            job.made = self._transfers.prepared(folder, order.data, ending.report)
        except ZygoteError as error:
            raise job.explained(error) from error
        finally:
            zygote.end()

    def _new_zygote(self, data: Data) -> Zygote:
        if data.environment not in self._environments:
            raise Refused(FailureKind.ENVIRONMENT, f"This runner has no environment {data.environment!r}.")
        return self._zygotes.new(_IMPORTED[_kind(data)], self._environments[data.environment].python)

    # --- a data set in memory ------------------------------------------------------------------------

    @contextmanager
    def _zygote(self, job: Job, data: Data, limits: Limits) -> Iterator[Zygote]:
        """A zygote that has this data set loaded."""
        try:
            with self._zygotes.loaded(_key(data), lambda: self._load(job, data, limits), job.go_on) as zygote:
                try:
                    yield zygote
                except ZygoteError:
                    self._zygotes.drop(zygote)
                    raise
        except ZygoteError as error:
            raise job.explained(error) from error

    def _load(self, job: Job, data: Data, limits: Limits) -> Zygote:
        """Starts a zygote; a child of it, the loader, reads the data, hands X to it and labels to this process."""
        zygote = self._new_zygote(data)
        try:
            self._transfers.put_files(zygote.folder / "data", data.files, copy=False)
            zygote.give(zygote.folder / "data")
            zygote.wait_until_ready(job.go_on)
            folder = _new_folder(zygote)
            task = Task(
                kind=LOAD,
                memory=limits.memory,
                # What is loaded may be much larger than its files, and is bounded by memory.
                disk=max(limits.disk, 2 * limits.memory),
                threads=self._threads,
                data_set=_kind(data),
                source=_source(data),
                data_label=data.data_label,
                target_column=data.target_column,
                arrays=self._transfers.arrays(train_rows=data.train_rows, test_rows=data.test_rows),
            )
            limits = replace(limits, disk=task.disk)
            with ExitStack() as after:
                ending = self._in_child(job, zygote, self._child(zygote, folder, after), task, limits, after)
            _check_counts(transfers.counts(ending.report), data)
            zygote.labels = {
                f"{part}_labels": read_regular(path)
                for part in ("train", "test")
                if (path := folder.home / f"{part}_labels").exists()
            }
            if data.module is None:
                zygote.y_train = labels.loads(zygote.labels["train_labels"])
            readable = [str(safe(name)) for name in ending.report.get("readable", ())]
            zygote.load(
                job.go_on,
                limits.wall,
                kind=_kind(data),
                source=_source(data),
                readable=readable,
                prepared=str(folder.home / "prepared"),
            )
            remove(folder.root)
        except ModuleFailed as error:
            zygote.end()
            raise Refused(FailureKind.DATA, str(error)) from error
        except BaseException:
            zygote.end()
            raise
        return zygote

    # --- a fold --------------------------------------------------------------------------------------

    def _fold(self, job: Job, order: FoldOrder, limits: Limits, zygote: Zygote, after: ExitStack) -> None:
        self._transfers.keep(order.enclosed)
        wanted = self._transfers.imported_by(order.submission)
        if order.metrics:
            wanted |= scoring.modules(order.metrics, order.data.kit)
        zygote.import_modules(wanted)
        after.callback(self._fork_ahead, zygote)
        child = zygote.spare() or self._fork_for_fold(zygote)
        after.callback(child.dismiss)
        self._transfers.put_files(child.folder.submission, order.submission, copy=True)
        (child.folder.submission / "__init__.py").touch()
        zygote.give(child.folder.submission)
        arrays = self._transfers.arrays(
            train_is=order.train_is, test_is=order.test_is if order.data.kit else None
        )
        if zygote.y_train is not None:
            # Of the rows to train on; no other label ever enters the child.
            arrays["y"] = labels.dumps(zygote.y_train[np.frombuffer(arrays["train_is"], dtype="<i8")])
        task = Task(
            kind=order.kind,
            memory=limits.memory,
            disk=limits.disk,
            soft=limits.soft,
            threads=self._threads,
            seed=_seed(order),
            data_set=_kind(order.data),
            elements=order.elements,
            arrays=arrays,
        )
        ending = self._in_child(job, zygote, child, task, limits, after)
        job.made = self._transfers.predictions(job, order, ending.predictions)
        if order.metrics:
            job.made["scores"] = self._scores(job, order, limits, zygote, ending.predictions, after)
            job.made["facts"] = {"seed": task.seed, "threads": task.threads, **self._surroundings(order.data)}

    def _surroundings(self, data: Data) -> dict[str, Any]:
        """What the record of a fold says of the machine, and of the Python that ran it."""
        if not data.environment:
            return scoring.surroundings()
        versions = dict(self._environments[data.environment].versions)
        return {**scoring.surroundings(), "python": versions.pop("python"), "versions": versions}

    # --- scores --------------------------------------------------------------------------------------

    def _scores(
        self,
        job: Job,
        order: FoldOrder,
        limits: Limits,
        zygote: Zygote,
        predicted: Mapping[str, bytes],
        after: ExitStack,
    ) -> dict[str, dict[str, float]]:
        """What the fold's predictions are worth: found out in a child that never saw the submission."""
        rows = self._transfers.arrays(train_is=order.train_is, test_is=order.test_is)
        task = self._scoring_task(SCORE, order, limits, zygote, {**rows, **predicted})
        ending = self._in_scoring_child(job, zygote, task, limits, after)
        return scoring.scores(ending.report, order.metrics)

    def _ensemble(
        self, job: Job, order: EnsembleOrder, limits: Limits, zygote: Zygote, after: ExitStack
    ) -> None:
        self._transfers.keep(order.enclosed)
        zygote.import_modules(scoring.modules(order.metrics, order.data.kit))
        arrays = self._transfers.fold_rows(order.folds)
        for number, each in enumerate(order.predicted):
            train, test = predicted_parts(number)
            arrays |= self._transfers.arrays(**{train: each.train, test: each.test})
        task = replace(
            self._scoring_task(order.kind, order, limits, zygote, arrays),
            given_folds=len(order.folds),
            predicted=tuple((each.submission, each.fold) for each in order.predicted),
            blend=order.blend,
        )
        ending = self._in_scoring_child(job, zygote, task, limits, after)
        job.made = {"facts": dict(ending.report.get("facts", {}))}

    def _scoring_task(
        self,
        kind: str,
        order: FoldOrder | EnsembleOrder,
        limits: Limits,
        zygote: Zygote,
        arrays: Mapping[str, bytes],
    ) -> Task:
        if len(zygote.labels) < len(_PARTS):
            raise Refused(
                FailureKind.DATA, "Its labels are no array of numbers or text: no metric can score that."
            )
        return Task(
            kind=kind,
            memory=limits.memory,
            disk=limits.disk,
            threads=self._threads,
            data_set=_kind(order.data),
            metrics=order.metrics,
            arrays={**arrays, **zygote.labels},
        )

    def _in_scoring_child(
        self, job: Job, zygote: Zygote, task: Task, limits: Limits, after: ExitStack
    ) -> sandbox.Ending:
        folder = _new_folder(zygote)
        after.callback(remove, folder.root)
        try:
            return self._in_child(job, zygote, self._child(zygote, folder, after), task, limits, after)
        except Refused as refused:
            if refused.kind in (FailureKind.ENVIRONMENT, FailureKind.BAD_OUTPUT):
                raise
            # Whatever its limits were, no code of a submission ran here.
            raise Refused(FailureKind.DATA, f"While it was scored: {refused.message}") from refused


def _close(after: ExitStack) -> None:
    try:
        after.close()
    except Exception:
        logger.exception("what a job has left could not be removed")


def _new_folder(zygote: Zygote) -> JobFolder:
    folder = JobFolder(Path(tempfile.mkdtemp(dir=zygote.folder / "jobs")))
    folder.home.mkdir()
    zygote.give(folder.root)
    return folder


def _key(data: Data) -> str:
    """Names a data set by all that its zygote depends on."""
    how = (data.module, data.kit, data.data_label, data.target_column, data.train_rows, data.test_rows)
    return json.dumps([sorted(data.files.items()), how, data.environment])


def _kind(data: Data) -> str:
    """See `datarun.runner.workflows`."""
    if data.kit:
        return "kit"
    return "csv" if data.module is None else "module"


def _source(data: Data) -> str:
    return data.module or next(iter(data.files))


def _seed(order: FoldOrder) -> int:
    """The same for the same submission on the same fold, wherever and whenever it runs."""
    named = json.dumps([sorted(order.submission.items()), order.train_is]).encode()
    return int.from_bytes(hashlib.sha256(named).digest()[:8], "big")


def _check_counts(counts: Mapping[str, int], data: Data) -> None:
    n_train, n_test = counts["n_train"], counts["n_test"]
    if (n_train, n_test) != (data.n_train, data.n_test):
        raise Refused(
            FailureKind.DATA,
            f"The data have {n_train} train and {n_test} test rows now; "
            f"there were other numbers when they were prepared: {data.n_train} and {data.n_test}.",
        )
