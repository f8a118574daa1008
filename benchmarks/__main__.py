"""``bin/bench [PART...] [--quick]``: measures and prints tables; all parts write docs/benchmarks.rst."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import report
from .platform import Datarun
from .report import POOL, Rate, Wanted

BARE = "bare loop of warm forks"
CELERY, PROCESS_A_TASK = "Celery", "Celery, a process a task"
#: Systems by name, and the tasks of a round: in a quick run (0: left out), and in a full one.
SYSTEMS = {
    "datarun": (30, 400),
    BARE: (30, 400),
    POOL: (30, 400),
    "ray": (0, 400),
    "dask.distributed": (0, 400),
    CELERY: (30, 400),
    PROCESS_A_TASK: (10, 20),
    "a new Python a task": (4, 10),
}
_PATIENCE = 600.0  # seconds for a round of one system


@dataclass
class Run:
    """What one run has measured so far."""

    platform: Datarun
    folder: Path
    quick: bool
    rates: list[Rate] = field(default_factory=list)
    wanted: list[Wanted] = field(default_factory=list)

    @property
    def rounds(self) -> int:
        return 1 if self.quick else 3

    def idle(self) -> None:
        """The runner from its start on: to be measured before it runs anything."""
        seen = self.platform.idle(10)
        self._want("start to ready of a runner", f"{self.platform.seconds_to_ready:.1f} s", "3 s")
        self._want("idle memory of a runner", f"{seen.pss:.0f} MB (RSS {seen.rss:.0f} MB)", "150 MB")
        self._want("idle CPU of a runner", f"{seen.cpu:.1%}", "1 %")

    def latency(self) -> None:
        first = [self.platform.latency(self.platform.new_data()) for _ in range(self.rounds)]
        data = self.platform.new_data()
        self.platform.latency(data)
        warm = sorted(self.platform.latency(data) for _ in range(20 if self.quick else 200))
        self._want("latency, p50", f"{statistics.median(warm) * 1000:.0f} ms", "60 ms")
        self._want("latency, p95", f"{statistics.quantiles(warm, n=20)[-1] * 1000:.0f} ms", "120 ms")
        self._want("first fold of a data set", f"{statistics.median(first):.2f} s", "3 s")

    def throughput(self) -> None:
        data = self.platform.new_data()
        self.platform.latency(data)
        tasks = {name: sizes[0] if self.quick else sizes[1] for name, sizes in SYSTEMS.items()}
        tasks = {name: number for name, number in tasks.items() if number}
        seen: dict[str, list[float]] = {name: [] for name in tasks}
        for number in range(self.rounds):
            for name in tasks:
                sys.stderr.write(f"round {number + 1} of {self.rounds}: {name}\n")
                if name == "datarun":
                    seconds = self.platform.throughput(data, tasks[name])
                else:
                    seconds = self._peer(name, tasks[name])
                seen[name].append(tasks[name] / seconds)
                sys.stderr.write(f"    {seen[name][-1]:.3g} a second\n")
        medians = {name: statistics.median(rates) for name, rates in seen.items()}
        self.rates = [Rate(name, median, tasks[name]) for name, median in medians.items()]
        own = medians["datarun"]
        self._want("throughput, of the bare loop's", f"{own / medians[BARE]:.2f}", "0.9")
        self._want("throughput, of ProcessPoolExecutor's", f"{own / medians[POOL]:.2f}", "0.6")
        self._want(f"throughput, of {CELERY}", f"{own / medians[CELERY]:.2f} times", "1 times")
        self._want(
            f"throughput, of {PROCESS_A_TASK}", f"{own / medians[PROCESS_A_TASK]:.1f} times", "25 times"
        )

    def long(self) -> None:
        """Folds that take seconds: what the platform adds is to vanish beside them."""
        data, folds = self.platform.new_data(), 2 if self.quick else 8
        self.platform.latency(data)
        ratios = [
            self._peer("ProcessPoolExecutor, long folds", folds) / self.platform.long_throughput(data, folds)
            for _ in range(1 if self.quick else 2)
        ]
        self._want(
            "throughput of long folds, of ProcessPoolExecutor's", f"{statistics.median(ratios):.3f}", "0.97"
        )

    def large(self) -> None:
        """A data set of 1 GB."""
        alone = float(self._run("-m", "benchmarks.large"))
        data, folds = self.platform.new_large_data(), 4 if self.quick else 20
        peak = self.platform.large_peak(data, folds)
        what = f"peak memory of {folds} folds on 1 GB of data, of one in a process of its own"
        self._want(what, f"{peak / alone:.2f} times ({peak:.0f} of {alone:.0f} MB)", "1.6 times")

    def _peer(self, name: str, tasks: int) -> float:
        return float(self._run("-m", "benchmarks.peers", name, str(tasks)))

    def _run(self, *command: str) -> str:
        """What this prints in the environment of the peers."""
        home = {"HOME": str(self.folder), "OMP_NUM_THREADS": "1"}  # ray keeps files in HOME
        done = subprocess.run(
            [report.PEERS_PYTHON, *command],
            env=os.environ | home,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
        return done.stdout

    def _want(self, what: str, seen: str, wanted: str) -> None:
        sys.stderr.write(f"{what}: {seen}\n")
        self.wanted.append(Wanted(what, seen, wanted))


#: In the order in which they run.
PARTS: dict[str, Callable[[Run], None]] = {
    "idle": Run.idle,
    "latency": Run.latency,
    "throughput": Run.throughput,
    "long": Run.long,
    "large": Run.large,
}


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="run-", dir=".bench") as name:
        folder = Path(name).absolute()
        with Datarun.running(folder, os.environ["DATABASE_URL"], os.environ["BROKER_URL"]) as platform:
            run = Run(platform, folder, arguments.quick)
            for part, measure in PARTS.items():
                if part in (arguments.parts or PARTS):
                    measure(run)
    if run.rates:
        print(report.rates_table(run.rates))
    print(report.wanted_table(run.wanted))
    if not arguments.parts:
        report.write(run.rates, run.wanted, run.rounds, f"{os.cpu_count()}-core virtual machine")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bin/bench",
        description="Measure datarun beside what it can be compared with. Asserts nothing. "
        "Without parts: all of them, and docs/benchmarks.rst is written.",
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="few tasks, for a few minutes")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    return arguments


if __name__ == "__main__":
    main()
