"""Ends what is left of a job whose keeper was killed or stopped; otherwise that is the keeper's own duty.

Without their keeper, processes are known by having been seen below it, or by what they were started with.
"""

import contextlib
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from .folder import JobFolder

_LOOK = 0.01  # seconds between two looks at who is left


def end(folder: JobFolder, seen: Iterable[psutil.Process]) -> None:
    """Kills the processes `seen`, those below them and those started for `folder`; returns once all are gone."""
    suspects = set(seen)
    while True:
        suspects.update(_started_for(folder))
        for process in list(suspects):
            with contextlib.suppress(psutil.Error):
                suspects.update(process.children(recursive=True))
        left = [process for process in suspects if _alive(process)]
        if not left:
            return
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(_LOOK)


def sweep(scratch: Path) -> None:
    """Ends and removes what jobs of a runner that was killed have left in its scratch folder."""
    for folder in scratch.iterdir() if scratch.is_dir() else ():
        end(JobFolder(folder.resolve()), [])
        shutil.rmtree(folder, ignore_errors=True)


def _started_for(folder: JobFolder) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if str(folder.root) in process.cmdline() or process.environ().get("HOME") == str(folder.home):
                yield process


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    return False
