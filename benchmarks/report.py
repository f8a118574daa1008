"""The figures of one run, as text and as a page of the documentation."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PEERS_PYTHON = Path(".bench/venv/bin/python").absolute()
_PAGE, _CHART = Path("docs/benchmarks.rst"), Path("docs/benchmarks.svg")
POOL, _REFERENCE = "ProcessPoolExecutor", 186
_TEXT = """\
Benchmarks
==========

``bin/bench`` measures datarun and what it can be compared with, in one run on one machine, and writes this
page. The figures below come from a shared {machine}: only the ratios of one run mean something.

A task fits a random forest of ten trees on a fold of iris and predicts the train and the test part. All
systems run two tasks at a time; each has its processes up and its data and libraries loaded before the clock
starts.

.. image:: benchmarks.svg
   :alt: Tasks a second of each system, as in the first table.

Throughput
----------

*datarun* is the whole platform: HTTP, PostgreSQL, RabbitMQ, scheduler, and a sandboxed process a fold. Its
clock goes from the first order in the queue to the last outcome in PostgreSQL. The *bare loop* forks a warm
process a task and does nothing else. *Celery* has a quorum queue, late acknowledgement and results in
PostgreSQL; *a process a task* sets ``worker_max_tasks_per_child=1``, and its processes fork from one that has
imported everything. Medians of {rounds} rounds, in which the systems take turns.

{rates}
Beside what is wanted
---------------------

Latency goes from the answer to the POST until the predictions are read over HTTP, on an idle platform. The
first fold of a data set is one whose data no process has loaded yet. Memory is the proportional set size of
all processes of a runner (shared pages are counted once) that has not run anything yet; CPU is a share of one
core. The times that are wanted were set on a machine whose ProcessPoolExecutor does {reference} of these tasks a
second; this one's does {pool:.0f}.

Long folds fit 8,000 trees, some eight seconds each, a few rounds beside ProcessPoolExecutor. The large data set is a
custom module's, 1.05 GB of numbers; each fold copies half of them to train on, two folds at a time, and what they need
at most is compared with a process that loads the data and runs one fold by itself.

{wanted}"""


@dataclass(frozen=True)
class Rate:
    system: str
    per_second: float
    tasks: int


@dataclass(frozen=True)
class Wanted:
    what: str
    seen: str
    wanted: str


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A simple table of reStructuredText, which reads well as text."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    rule = "  ".join("=" * width for width in widths)
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)
    ]
    return "\n".join(line.rstrip() for line in (rule, lines[0], rule, *lines[1:], rule)) + "\n"


def rates_table(rates: Sequence[Rate]) -> str:
    own = next(rate.per_second for rate in rates if rate.system == "datarun")
    head = ("system", "tasks a second", "datarun is", "tasks a round")
    rows = [(r.system, f"{r.per_second:.3g}", f"{own / r.per_second:.2f} times", str(r.tasks)) for r in rates]
    return table(head, rows)


def wanted_table(wanted: Sequence[Wanted]) -> str:
    return table(("what", "seen", "wanted"), [(row.what, row.seen, row.wanted) for row in wanted])


def write(rates: Sequence[Rate], wanted: Sequence[Wanted], rounds: int, machine: str) -> None:
    pool = next(rate.per_second for rate in rates if rate.system == POOL)
    text = _TEXT.format(
        rates=rates_table(rates),
        wanted=wanted_table(wanted),
        rounds=rounds,
        machine=machine,
        pool=pool,
        reference=_REFERENCE,
    )
    _PAGE.write_text(text)
    bars = json.dumps({rate.system: rate.per_second for rate in rates})
    subprocess.run([PEERS_PYTHON, "-m", "benchmarks.chart", _CHART], input=bars, text=True, check=True)
