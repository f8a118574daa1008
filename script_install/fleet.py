"""Does the same on many machines at a time; one that fails stops no other. Says at the end how each went."""

import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .errors import ProvisionError
from .machine import Machine

#: Machines at a time.
WIDTH = 20


@dataclass(frozen=True, slots=True)
class Report:
    """How it went on one machine."""

    address: str
    changes: int
    problem: str
    seconds: float
    planned: bool = False

    @property
    def text(self) -> str:
        if self.problem:
            return f"FAILED: {self.problem}"
        if not self.changes:
            return "nothing to change"
        return f"{self.changes} change{'s' if self.changes > 1 else ''}{' planned' if self.planned else ''}"


def each(machines: Iterable[Machine], work: Callable[[Machine], object], width: int = WIDTH) -> list[Report]:
    """Does `work` on all machines, `width` at a time; returns a report of each, in their order."""
    with ThreadPoolExecutor(width) as pool:
        return list(pool.map(lambda machine: one(machine, work), machines))


def one(machine: Machine, work: Callable[[Machine], object]) -> Report:
    """Does `work` on one machine, connected."""
    begun, before, problem = time.monotonic(), len(machine.changes), ""
    try:
        with machine.connected():
            work(machine)
    except ProvisionError as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001 - a defect of ours must not keep the others from being reported
        traceback.print_exc()
        problem = f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - begun
    return Report(machine.address, len(machine.changes) - before, problem, seconds, machine.plan)


def merged(reports: Iterable[Report]) -> list[Report]:
    """One report a machine: the first problem counts, changes and seconds add up."""
    found: dict[str, Report] = {}
    for report in reports:
        if (known := found.get(report.address)) is not None:
            report = Report(
                report.address,
                known.changes + report.changes,
                known.problem or report.problem,
                known.seconds + report.seconds,
                report.planned,
            )
        found[report.address] = report
    return list(found.values())


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def summary(reports: Sequence[Report]) -> str:
    """A line a machine."""
    return table([(report.address, f"{report.seconds:.0f} s", report.text) for report in reports])
