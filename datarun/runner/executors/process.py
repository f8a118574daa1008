"""Runs a job in a sandboxed process tree of its own."""

import logging
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from datarun.contract import npy
from datarun.contract.failures import FailureKind
from datarun.contract.messages import (
    Data,
    FoldOrder,
    HandedBack,
    Limits,
    Order,
    Outcome,
    PrepareOrder,
    Result,
    Stopped,
)
from datarun.contract.states import Stage
from datarun.runner import predictions
from datarun.runner.blobs import BlobError, BlobStore
from datarun.runner.sandbox import run as sandbox
from datarun.runner.sandbox.folder import MAX_OUTPUT, JobFolder, Task
from datarun.runner.sandbox.log import clean

logger = logging.getLogger(__name__)

#: Predictions up to this many bytes travel in the outcome itself; larger ones as blobs.
_INLINE = 256 * 1024
#: Characters of a message, which may be a traceback.
_LONGEST = 64 * 1024
#: Bytes that are left on a disk which is as good as full.
_FULL = 16 << 20
#: A process that had this share of its limit in memory when it was killed was killed for it.
_NEAR = 0.9
_MEASURES = frozenset(
    {
        *("train_time", "validation_time", "test_time"),
        *("train_cpu_time", "test_cpu_time", "train_memory", "test_memory"),
    }
)


class Refused(Exception):
    """The job can't end well: how, and why."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind, self.message = kind, message


class ProcessExecutor:
    """See `Executor`.

    `threads` is what a job's native libraries may use; `time_limit` and `soft_time_limit` are this runner's
    own limits in seconds, the smaller ones count.
    """

    def __init__(
        self,
        blobs: BlobStore,
        scratch: Path,
        threads: int,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
    ) -> None:
        self._blobs, self._scratch, self._threads = blobs, scratch, threads
        self._time_limit, self._soft_time_limit = time_limit, soft_time_limit
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)

    def run(self, order: Order, runner: str, watcher: sandbox.Watcher) -> Result:
        log, measures, made = "", {}, {}
        failure, message, stage = None, "", Stage.STARTED
        try:
            with _temporary(self._scratch) as root:
                folder = JobFolder(root)
                limits = self._limits(order)
                self._fill(folder, order, limits)
                ending = sandbox.run(folder, limits, self._threads, watcher)
                if ending.interrupt is not None:
                    ended = Stopped if ending.interrupt is sandbox.Interrupt.STOP else HandedBack
                    return ended(order.job, order.attempt, runner)
                stage = ending.stage
                log, measures = ending.log.replace(f"{folder.root}/", ""), _measures(ending.report)
                if ending.report.get("kind") == FailureKind.DISK and _is_full(folder.root):
                    raise Refused(FailureKind.ENVIRONMENT, "This runner's disk is full.")
                _check_ending(ending, order)
                made = self._results(folder, order, ending.report)
        except Refused as refused:
            failure, message = refused.kind, refused.message
        except BlobError as error:
            if self._blobs.stopping:
                return HandedBack(order.job, order.attempt, runner)
            failure, message = FailureKind.ENVIRONMENT, str(error)
        except OSError as error:
            failure, message = FailureKind.ENVIRONMENT, str(error)
        except Exception as error:
            logger.exception("job %s", order.job)
            failure, message = FailureKind.ENVIRONMENT, f"The runner failed: {error!r}"
        return Outcome(
            job=order.job,
            attempt=order.attempt,
            runner=runner,
            failure=failure,
            stage=stage,
            message=clean(message),
            log=log,
            measures=measures,
            **made,
        )

    def _limits(self, order: Order) -> Limits:
        wall = min(filter(None, (order.limits.wall, self._time_limit)))
        soft = min(filter(None, (order.limits.soft, self._soft_time_limit)), default=None)
        return replace(order.limits, wall=wall, soft=soft)

    # --- before ----------------------------------------------------------------------------------

    def _fill(self, folder: JobFolder, order: Order, limits: Limits) -> None:
        folder.make()
        data = order.data
        # A module may write beside its data while it prepares them, so it gets copies.
        self._put_files(folder.data, data.files, copy=isinstance(order, PrepareOrder))
        source = data.module or next(iter(data.files))
        if isinstance(order, PrepareOrder):
            task = Task(
                kind=order.kind,
                memory=limits.memory,
                disk=limits.disk,
                soft=limits.soft,
                source=source,
                custom=data.module is not None,
                target_column=data.target_column,
                held_out_test=order.held_out_test,
                random_state=order.random_state,
            )
        else:
            self._put_files(folder.submission, order.submission, copy=True)
            (folder.submission / "__init__.py").touch()
            self._put_indices(folder, order)
            task = Task(
                kind=order.kind,
                memory=limits.memory,
                disk=limits.disk,
                soft=limits.soft,
                source=source,
                custom=data.module is not None,
                target_column=data.target_column,
                elements=order.elements,
                n_train=data.n_train,
                n_test=data.n_test,
            )
        folder.write_task(task)

    def _put_files(self, folder: Path, files: Mapping[str, str], copy: bool) -> None:
        for name, sha256 in files.items():
            path = folder / _safe(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            cached = self._blobs.path(sha256)
            if copy:
                shutil.copyfile(cached, path)
            else:
                path.symlink_to(cached)

    def _put_indices(self, folder: JobFolder, order: FoldOrder) -> None:
        data = order.data
        for name, sha256 in (
            ("train_is", order.train_is),
            ("train_rows", data.train_rows),
            ("test_rows", data.test_rows),
        ):
            if sha256 is not None:
                indices = np.frombuffer(self._blobs.read(sha256), dtype="<i8")
                folder.array(name).write_bytes(npy.dumps(indices))

    # --- after -----------------------------------------------------------------------------------

    def _results(self, folder: JobFolder, order: Order, report: Mapping[str, Any]) -> dict[str, Any]:
        if any(path.is_symlink() for path in (folder.root, folder.data, folder.out)):
            raise Refused(FailureKind.BAD_OUTPUT, "It put a link in the place of a folder of its job.")
        if isinstance(order, FoldOrder):
            return self._predictions(folder, order.data)
        if order.data.module is None:
            rows = {name: _read_rows(folder.out / f"{name}.npy") for name in ("train_rows", "test_rows")}
            blobs = {name: self._blobs.put(array.astype("<i8").tobytes()) for name, array in rows.items()}
            counts = {"n_train": len(rows["train_rows"]), "n_test": len(rows["test_rows"])}
        else:
            blobs = {
                name: self._blobs.put_file(path) for name, path in self._new_files(folder.data, order.data)
            }
            counts = {name: int(report["counts"][name]) for name in ("n_train", "n_test")}
        return {"blobs": blobs, "counts": counts}

    def _predictions(self, folder: JobFolder, data: Data) -> dict[str, Any]:
        arrays, array_blobs = {}, {}
        for part, rows in (("train", data.n_train), ("test", data.n_test)):
            assert rows is not None
            try:
                array = predictions.check(
                    npy.loads(_read_regular(folder.out / f"{part}.npy")), rows, f"{part} part"
                )
            except (predictions.BadOutput, npy.NpyError) as error:
                raise Refused(FailureKind.BAD_OUTPUT, str(error)) from error
            if array.nbytes > _INLINE:
                array_blobs[part] = self._blobs.put(npy.dumps(array))
            else:
                arrays[part] = array
        return {"arrays": arrays, "array_blobs": array_blobs}

    def _new_files(self, folder: Path, data: Data) -> Iterator[tuple[str, Path]]:
        """The regular files that a preparation wrote or changed."""
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink() or not path.is_file() or "__pycache__" in path.parts:
                continue
            if data.files.get(name) != self._blobs.hash_file(path):
                yield name, path


@contextmanager
def _temporary(scratch: Path) -> Iterator[Path]:
    """A new folder that is gone afterwards, whatever a job has made in it."""
    folder = tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True)
    try:
        yield Path(folder.name).resolve()
    finally:
        try:
            folder.cleanup()
        except RecursionError:  # folders nested a thousand deep
            subprocess.run(["/bin/rm", "-rf", "--", folder.name], check=False)


def _safe(name: str) -> PurePosixPath:
    """A relative path that stays below its folder, whoever named it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise Refused(FailureKind.DATA, f"{name!r} is no safe file name.")
    return path


def _check_ending(ending: sandbox.Ending, order: Order) -> None:
    """Raises `Refused` unless the child says that it is done, and ended well."""
    # Nobody's submission takes part in a preparation.
    theirs = FailureKind.USER_ERROR if isinstance(order, FoldOrder) else FailureKind.DATA
    if ending.stopped is not None:
        raise Refused(ending.stopped, ending.why)
    report, code = ending.report, ending.exit_code
    if report.get("event") == "failed":
        kind = str(report.get("kind"))
        known = {
            *(FailureKind.USER_ERROR, FailureKind.BAD_OUTPUT, FailureKind.TIMEOUT),
            *(FailureKind.MEMORY, FailureKind.DISK, FailureKind.DATA),
        }
        raise Refused(
            FailureKind(kind) if kind in known else theirs, str(report.get("message", ""))[-_LONGEST:]
        )
    if code is None:
        raise Refused(FailureKind.ENVIRONMENT, "The process that watches over its processes was killed.")
    if code < 0:
        raise _killed(sandbox.signal_name(code), ending.peak, order.limits.memory)
    if report.get("event") != "done" or code != 0:
        raise Refused(
            theirs,
            f"Its process ended itself before it was done (exit code {code}): see the log.",
        )


def _is_full(folder: Path) -> bool:
    """Whether a job that could not write has met the end of the disk, rather than its own limit."""
    return shutil.disk_usage(folder).free < _FULL


def _killed(signal_name: str, peak: int, limit: int) -> Refused:
    """Whose failure a signal is. The kernel kills who uses too much memory, with SIGKILL like anybody else."""
    text = f"Its process was ended by {signal_name}, at a peak of {peak >> 20} MiB of memory."
    if signal_name != "SIGKILL":
        return Refused(FailureKind.KILLED, text)
    if peak > _NEAR * min(limit, psutil.virtual_memory().total):
        return Refused(FailureKind.MEMORY, f"{text} Its limit is {limit >> 20} MiB.")
    return Refused(FailureKind.ENVIRONMENT, f"{text} It was killed from outside.")


def _measures(report: Mapping[str, Any]) -> dict[str, float]:
    given = report.get("measures")
    if not isinstance(given, dict):
        return {}
    return {
        name: float(value)
        for name, value in given.items()
        if name in _MEASURES and isinstance(value, int | float) and 0 <= value < 1e15
    }


def _read_rows(path: Path) -> NDArray[np.int64]:
    array = npy.loads(_read_regular(path))
    if array.ndim != 1 or array.dtype.kind != "i":
        raise Refused(FailureKind.DATA, f"{path.name} holds no row numbers.")
    return array.astype(np.int64)


def _read_regular(path: Path) -> bytes:
    """The content of a file that a job wrote, unless it is a link, a pipe, a device or a giant."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise Refused(FailureKind.BAD_OUTPUT, f"{path.name} can't be read: {error.strerror}.") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_OUTPUT:
            raise Refused(FailureKind.BAD_OUTPUT, f"{path.name} is no file of at most {MAX_OUTPUT} bytes.")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_OUTPUT)
    finally:
        os.close(descriptor)
