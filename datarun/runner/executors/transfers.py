"""Between the master's blobs and a job's files and arrays. What a job made is read with distrust; nothing runs here."""

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarun.contract import predictions as transferred
from datarun.contract.failures import FailureKind
from datarun.contract.messages import Data, FoldOrder, FoldRows
from datarun.contract.splitters import MOST_FOLDS
from datarun.runner import predictions as checks
from datarun.runner.blobs import BlobStore
from datarun.runner.sandbox import imports
from datarun.runner.sandbox.task import JobFolder
from datarun.runner.sandbox.task import fold_rows as names_of_fold

from . import kits
from .endings import Refused
from .files import read_rows, safe
from .job import Job

#: Predictions up to this many bytes travel in the outcome itself; larger ones as blobs.
_INLINE = 256 * 1024
#: How much probabilities may miss one without a word.
_PRECISION = 1e-4
#: The blobs of folds that a preparation has cut are named so.
_FOLDS = "cv/"


class Transfers:
    """Raises `BlobError` where the master has not, or does not take, what is needed."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    def keep(self, enclosed: Mapping[str, str]) -> None:
        """Takes what came along with an order, base64 by sha256."""
        for sha256, content in enclosed.items():
            self._blobs.keep(sha256, b64decode(content))

    def put_files(self, folder: Path, files: Mapping[str, str], copy: bool) -> None:
        """Files by name and hash: copies where they may be changed, otherwise the cache's own where possible."""
        for name, sha256 in files.items():
            path = folder / safe(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not copy:
                with suppress(OSError):  # on another disk
                    path.hardlink_to(self._blobs.path(sha256))
                    continue
            self._blobs.copy(sha256, path)

    def imported_by(self, submission: Mapping[str, str]) -> set[str]:
        """What a submission's files import."""
        files = (sha256 for name, sha256 in submission.items() if name.endswith(".py"))
        sources = (self._blobs.read(sha256).decode(errors="replace") for sha256 in files)
        return set().union(*map(imports.named_in, sources))

    def arrays(self, **blobs: str | None) -> dict[str, bytes]:
        """Index arrays, of the blobs that are named."""
        return {name: self._blobs.read(sha256) for name, sha256 in blobs.items() if sha256 is not None}

    def fold_rows(self, folds: Sequence[FoldRows]) -> dict[str, bytes]:
        """The index arrays of these folds, as a task names them."""
        arrays: dict[str, bytes] = {}
        for number, fold in enumerate(folds):
            train_is, test_is = names_of_fold(number)
            arrays |= self.arrays(**{train_is: fold.train_is, test_is: fold.test_is})
        return arrays

    def prepared(self, folder: JobFolder, data: Data, report: Mapping[str, Any]) -> dict[str, Any]:
        """What a preparation has made, as its outcome names it; raises `Refused`."""
        if any(path.is_symlink() for path in (folder.root, folder.data, folder.out)):
            raise Refused(FailureKind.DATA, "It put a link in the place of a folder of its job.")
        if data.module is None:
            rows = {name: read_rows(folder.out / f"{name}.npy") for name in ("train_rows", "test_rows")}
            blobs = {name: self._blobs.put(array.astype("<i8").tobytes()) for name, array in rows.items()}
            numbers = {"n_train": len(rows["train_rows"]), "n_test": len(rows["test_rows"])}
        else:
            blobs = {name: self._blobs.put_file(path) for name, path in self._new_files(folder.data, data)}
            numbers = counts(report)
            if kept := next((name for name in blobs if name.startswith(_FOLDS)), None):
                raise Refused(FailureKind.DATA, f"It wrote {kept}: datarun keeps that folder for folds.")
        if "n_folds" in report["counts"]:
            numbers["n_folds"] = min(int(report["counts"]["n_folds"]), MOST_FOLDS)
            blobs |= self._put_folds(folder, numbers["n_folds"])
        return {"blobs": blobs, "counts": numbers, "facts": kits.facts(report) if data.kit else {}}

    def _put_folds(self, folder: JobFolder, number: int) -> dict[str, str]:
        """The folds that a preparation has cut: see `PrepareOrder`."""
        blobs = {}
        for fold in range(number):
            for part, name in zip(("train_is", "test_is"), names_of_fold(fold), strict=True):
                rows = read_rows(folder.out / f"{name}.npy")
                blobs[f"{_FOLDS}{fold}/{part}"] = self._blobs.put(rows.astype("<i8").tobytes())
        return blobs

    def _new_files(self, folder: Path, data: Data) -> Iterator[tuple[str, Path]]:
        """The regular files that a preparation wrote or changed."""
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink() or not path.is_file() or "__pycache__" in path.parts:
                continue
            if data.files.get(name) != self._blobs.hash_file(path):
                yield name, path

    def predictions(self, job: Job, order: FoldOrder, given: Mapping[str, bytes]) -> dict[str, Any]:
        """What a fold has predicted, as its outcome has it; raises `Refused`. What is odd is noted in the job's log."""
        arrays, array_blobs = {}, {}
        for part, rows in (("train", order.data.n_train), ("test", order.data.n_test)):
            assert rows is not None
            if part not in given and order.data.kit and not rows:
                continue  # without labels of it, nobody wants to know
            if part not in given:
                raise Refused(FailureKind.BAD_OUTPUT, f"It gave no predictions of the {part} part.")
            try:
                array = checks.read(given[part], rows, f"{part} part", order.data.kit)
            except checks.BadOutput as error:
                raise Refused(FailureKind.BAD_OUTPUT, str(error)) from error
            if order.data.module is None and "classifier" in order.elements:
                job.log += _note_on_probabilities(array, part)
            if array.nbytes > _INLINE or array.dtype.kind == "O":
                array_blobs[part] = self._blobs.put(transferred.dumps(array))
            else:
                arrays[part] = array
        return {"arrays": arrays, "array_blobs": array_blobs}


def counts(report: Mapping[str, Any]) -> dict[str, int]:
    """Rows of the parts, as a preparation or a loader has counted them."""
    return {name: int(report["counts"][name]) for name in ("n_train", "n_test")}


def _note_on_probabilities(array: NDArray[np.float64], part: str) -> str:
    """A line for the log about probabilities that don't sum to one: they are accepted as they are."""
    if array.ndim != 2 or not (number := int((abs(array.sum(axis=1) - 1) > _PRECISION).sum())):
        return ""
    return f"The probabilities of the {part} part don't sum to one in {number} of {len(array)} rows.\n"
