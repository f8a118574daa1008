"""What became of a job's process: whose failure it is, and what of its measures is believed.

Reads what a child has reported and what its supervisor has seen; runs nothing.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import psutil

from datarun.contract.failures import FailureKind
from datarun.contract.messages import MEASURES
from datarun.runner.sandbox import run as sandbox
from datarun.runner.sandbox.usage import Mark

#: Characters of a message, which may be a traceback.
_LONGEST = 64 * 1024
#: Bytes that are left on a disk which is as good as full.
_FULL = 16 << 20
#: A process that had this share of its limit in memory when it was killed was killed for it.
_NEAR = 0.9
_STAGES = ("train", "validation", "test")
#: How far a fold's own measures may be from those of its supervisor, who hears of a stage later than it ends: in
#: seconds or MiB, and as a share.
_NOISE, _SHARE = 0.5, 0.1


class Refused(Exception):
    """The job can't end well: how, and why."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind, self.message = kind, message


def check(ending: sandbox.Ending, theirs: FailureKind, memory: int) -> None:
    """Raises `Refused` unless the child says that it is done, and was not stopped before. `theirs` is whose
    failure it is if nothing else explains it."""
    if ending.stopped is not None:
        raise Refused(ending.stopped, ending.why)
    report, code = ending.report, ending.exit_code
    if report.get("event") == "done":
        return  # how its process ended then is nobody's concern
    if report.get("event") == "failed":
        kind = str(report.get("kind"))
        known = {
            *(FailureKind.BAD_OUTPUT, FailureKind.TIMEOUT, FailureKind.MEMORY, FailureKind.DISK),
            theirs,
        }
        raise Refused(
            FailureKind(kind) if kind in known else theirs, str(report.get("message", ""))[-_LONGEST:]
        )
    if code is None:
        raise Refused(FailureKind.ENVIRONMENT, "The process that holds the data was killed.")
    if not ending.started and not ending.memory_kill:
        raise Refused(FailureKind.ENVIRONMENT, f"Its process did not start (exit code {code}): see the log.")
    if code < 0:
        raise _killed(ending, code, memory)
    raise Refused(theirs, f"Its process ended itself before it was done (exit code {code}): see the log.")


def _killed(ending: sandbox.Ending, code: int, limit: int) -> Refused:
    """Whose failure a signal is. The kernel kills who uses too much memory, with SIGKILL like anybody else."""
    name = sandbox.signal_name(code)
    text = f"Its process was ended by {name}, at a peak of {ending.peak >> 20} MiB of memory."
    if name == "SIGSYS":
        return Refused(FailureKind.KILLED, f"{text} It sent SIGKILL to itself or to all its processes.")
    if name != "SIGKILL":
        return Refused(FailureKind.KILLED, text)
    if ending.peak > _NEAR * min(limit, psutil.virtual_memory().total):
        return Refused(FailureKind.MEMORY, f"{text[:-1]}: its limit is {limit >> 20} MiB.")
    if ending.memory_kill:
        whole = f"With all its processes it met its limit of {limit >> 20} MiB."
        return Refused(FailureKind.MEMORY, f"{text} {whole}")
    return Refused(FailureKind.ENVIRONMENT, f"{text} It was killed from outside.")


def is_full(folder: Path) -> bool:
    """Whether a job that could not write has met the end of the disk, rather than its own limit."""
    return shutil.disk_usage(folder).free < _FULL


def measures(ending: sandbox.Ending) -> dict[str, float]:
    """What the child says of itself; where something else was seen from outside, that."""
    given = ending.report.get("measures")
    if not isinstance(given, dict):
        return {}
    seen = _seen(ending.marks)
    return {
        name: _credible(float(value), seen.get(name, float(value)))
        for name, value in given.items()
        if name in MEASURES and isinstance(value, int | float) and 0 <= value < 1e15
    }


def _credible(told: float, seen: float) -> float:
    return told if abs(told - seen) <= _NOISE + _SHARE * seen else seen


def _seen(marks: Sequence[Mark]) -> dict[str, float]:
    seen = {}
    for stage, before, after in zip(_STAGES, marks, marks[1:], strict=False):
        seen[f"{stage}_time"] = after.time - before.time
        seen[f"{stage}_cpu_time"] = after.cpu - before.cpu
        if after.memory:  # of one that has ended by then the kernel does not say it any more
            seen[f"{stage}_memory"] = after.memory
    return seen
