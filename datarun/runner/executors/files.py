"""Files between a job and its supervisor: names that stay below a folder, and content that is read with distrust."""

import os
import stat
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from datarun.contract import npy
from datarun.contract.failures import FailureKind
from datarun.runner.sandbox.task import MAX_OUTPUT

from .endings import Refused


def safe(name: str) -> PurePosixPath:
    """A relative path that stays below its folder, whoever named it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise Refused(FailureKind.DATA, f"{name!r} is no safe file name.")
    return path


def read_rows(path: Path) -> NDArray[np.int64]:
    array = npy.loads(read_regular(path))
    if array.ndim != 1 or array.dtype.kind != "i":
        raise Refused(FailureKind.DATA, f"{path.name} holds no row numbers.")
    return array.astype(np.int64)


def read_regular(path: Path) -> bytes:
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
