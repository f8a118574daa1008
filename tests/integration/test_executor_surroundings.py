"""What a submission finds around itself: no credentials, a folder of its own, and what it was promised."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from datarun.contract.messages import Data, Outcome
from datarun.runner.sandbox import cgroup, run, warm
from datarun.runner.sandbox.run import Watcher
from tests.bench import TOY, Bench, classifier, leftovers, succeeded

SECRETS = {
    "BROKER_URL": "amqp://dr:secret-of-the-broker@localhost/dr",
    "DATABASE_URL": "postgresql://dr:secret-of-the-database@localhost/dr",
    "DR_DATABASE_PASSWORD": "secret-of-the-database",
    "DR_RUNNER_TOKEN": "secret-token",
    "RMQ_PASSWORD": "secret-of-the-broker",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-storage",
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench.serving(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Bench]:
    """One whose processes start in the surroundings of the test."""
    with Bench.serving(tmp_path) as bench:
        yield bench


def told(outcome: Outcome) -> Any:
    """What the submission printed, which is JSON."""
    return json.loads(succeeded(outcome).log)


# --- what it finds --------------------------------------------------------------------------------


def test_no_credentials_of_the_runner(fresh: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    top = "import json, subprocess"
    fit = """
    seen = [dict(os.environ), subprocess.check_output(["/usr/bin/env"], text=True)]
    for file in ("environ", "cmdline"):
        seen.append(Path("/proc/self", file).read_text())
    print(json.dumps(seen))
    """
    seen = told(fresh.toy(classifier(fit=fit, top=top)))
    assert "PATH=" in seen[1]
    assert "PATH=" in seen[2]
    assert not set(SECRETS) & set(seen[0])
    assert "secret" not in json.dumps(seen)


def test_the_same_surroundings_wherever_the_runner_was_started(
    fresh: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONWARNINGS", "LD_PRELOAD", "OMP_NUM_THREADS", "LANG"):
        monkeypatch.setenv(name, "/nonexistent")
    fit = """
    folder = Path.cwd()
    print(json.dumps({
        "environment": dict(os.environ),
        "homes": [str(folder), str(Path.home()), tempfile.gettempdir()],
        "here": os.listdir(folder),
        "input": sys.stdin.read(),
        "encoding": sys.stdout.encoding,
    }))
    """
    seen = told(fresh.toy(classifier(fit=fit, top="import json, tempfile")))
    assert seen["homes"] == ["home"] * 3  # the runner's own folders are left out of what is printed
    assert (seen["here"], seen["input"], seen["encoding"]) == ([], "", "utf-8")
    assert "/nonexistent" not in seen["environment"].values()
    assert {seen["environment"][f"{name}_NUM_THREADS"] for name in ("OMP", "OPENBLAS", "MKL")} == {"1"}


def test_no_descriptor_but_its_own(bench: Bench, tmp_path: Path) -> None:
    top = "import json"
    fit = """
    found = []
    for number in range(256):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            pass
    print(json.dumps(found))
    """
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        found = told(bench.toy(classifier(fit=fit, top=top)))
    assert "/dev/null" in found
    assert all(name == "/dev/null" or name.startswith("pipe:") for name in found)
    assert len(set(found)) == 3  # nothing to read, what it prints, what it reports


READING = """
found = []
for name in ("raw.csv", "images/1.txt"):
    try:
        found.append(Path("../../../data", name).read_text())
    except PermissionError:
        found.append(None)
print(found)
"""


@pytest.mark.parametrize(
    ("readable", "found"),
    [
        ("", [None, None]),
        ("READABLE_BY_SUBMISSIONS = ['images']", [None, "image"]),
        ("READABLE_BY_SUBMISSIONS = ['images/1.txt', 'missing']", [None, "image"]),
        ("READABLE_BY_SUBMISSIONS = ('raw.csv',)", ["a,y\n", None]),
    ],
)
def test_of_the_raw_data_it_reads_what_the_data_set_names(
    bench: Bench, readable: str, found: list[str | None]
) -> None:
    files = {"toy.py": f"{TOY}\n{readable}\n", "raw.csv": "a,y\n", "images/1.txt": "image"}
    data = Data(bench.files(files), "y", module="toy.py", n_train=8, n_test=4)
    order = bench.fold(data, ("classifier",), classifier(fit=READING), np.arange(3))
    assert succeeded(bench.run(order)).log == f"{found}\n"


@pytest.mark.parametrize("name", ["../data", "/etc", "", "images/../../lib"])
def test_what_a_data_set_names_lies_in_its_own_folder(bench: Bench, name: str) -> None:
    files = {"toy.py": f"{TOY}\nREADABLE_BY_SUBMISSIONS = [{name!r}]\n"}
    data = Data(bench.files(files), "y", module="toy.py", n_train=8, n_test=4)
    outcome = bench.run(bench.fold(data, ("classifier",), classifier(), np.arange(3)))
    assert (outcome.failure, outcome.message) == ("data", f"{name!r} is no safe file name.")


# --- what is measured -----------------------------------------------------------------------------

BUSY = "until = time.process_time() + 1\nwhile time.process_time() < until: pass"
HALF = "return np.full((len(X), 2), 0.5)"


def measures(bench: Bench, **bodies: str) -> dict[str, float]:
    measured = dict(succeeded(bench.toy(classifier(**bodies))).measures)
    assert set(measured) == {
        *("train_time", "validation_time", "test_time"),
        *("train_cpu_time", "test_cpu_time", "train_memory", "test_memory"),
    }
    assert all(value > 0 for value in measured.values())
    return measured


def test_a_busy_fit_has_cpu_seconds_and_time_of_its_own(bench: Bench) -> None:
    measured = measures(bench, fit=BUSY)
    assert 1.0 <= measured["train_cpu_time"] < 1.3
    assert measured["train_cpu_time"] <= measured["train_time"] + 0.1
    assert measured["train_time"] < 10
    for name in ("validation_time", "test_time", "test_cpu_time"):
        assert measured[name] < 0.5


def test_a_sleeping_prediction_has_time_but_no_cpu_seconds(bench: Bench) -> None:
    measured = measures(bench, predict="time.sleep(0.4)\n" + HALF)
    assert 0.4 <= measured["validation_time"] < 5
    assert 0.4 <= measured["test_time"] < 5
    assert measured["test_cpu_time"] < 0.2
    assert measured["train_time"] < 0.3


def test_cpu_seconds_of_processes_below_count(bench: Bench) -> None:
    fit = "if os.fork() == 0:\n" + "".join(f"    {line}\n" for line in BUSY.splitlines())
    assert measures(bench, fit=fit + "    os._exit(0)\nos.wait()")["train_cpu_time"] >= 1.0


def test_memory_grows_by_what_was_allocated(bench: Bench) -> None:
    plain = measures(bench)
    hungry = measures(bench, fit="np.ones(25 << 20)")  # 200 MiB, given back
    assert hungry["train_memory"] - plain["train_memory"] == pytest.approx(200, abs=10)
    assert plain["train_memory"] == pytest.approx(plain["test_memory"], abs=5)
    assert hungry["test_memory"] == pytest.approx(hungry["train_memory"], abs=5)  # a peak
    assert 5 < plain["train_memory"] < 200


def test_memory_of_a_prediction_is_not_charged_to_the_training(bench: Bench) -> None:
    measured = measures(bench, predict="np.ones(25 << 20)\n" + HALF)
    assert measured["test_memory"] - measured["train_memory"] == pytest.approx(200, abs=10)


def test_a_failed_fold_has_the_measures_of_what_it_did(bench: Bench) -> None:
    outcome = bench.toy(classifier(fit=BUSY, predict="raise ValueError"))
    assert outcome.failure == "user_error"
    assert outcome.measures["train_cpu_time"] >= 1.0
    assert "test_time" not in outcome.measures


# --- when the runner dies -------------------------------------------------------------------------

RUNNER = """
import sys
from pathlib import Path
from datarun.runner.sandbox.run import Watcher
from tests.bench import Bench, classifier

class Ready(Watcher):
    def output(self, chunk):
        Path(sys.argv[3]).touch()

with Bench.serving(Path(sys.argv[1])) as bench:
    bench.toy(classifier(fit=sys.argv[2]), wall=120, watcher=Ready())
"""
READY = "print('ready', flush=True)\ntime.sleep(60)"
SCATTERED = """
import ctypes
for _ in range(3):
    if os.fork() == 0:
        if os.fork():
            os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    os.wait()
ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)  # PR_SET_PDEATHSIG: nothing, should its parent die
"""


@pytest.mark.parametrize("before", ["", SCATTERED], ids=["one process", "daemons"])
def test_nothing_of_a_fold_outlives_its_runner(tmp_path: Path, before: str) -> None:
    ready = tmp_path / "ready"
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(tmp_path), before + READY, str(ready)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        wait_until(ready.exists)
        tree = psutil.Process(runner.pid).children(recursive=True)
        assert len(tree) == (5 if before else 2)
    finally:
        runner.kill()
        runner.wait()
    _, alive = psutil.wait_procs(tree, timeout=10)
    assert alive == []
    assert leftovers(tmp_path / "scratch") == []


# --- when the process that holds the data fails -----------------------------------------------------


class Ready(Watcher):
    """Does something with the process that holds the data once the fold has printed something."""

    def __init__(self, then: Callable[[psutil.Process], None]) -> None:
        self._then = then

    def output(self, chunk: bytes) -> None:
        for zygote in psutil.Process().children():
            self._then(zygote)


@pytest.mark.parametrize("before", ["", SCATTERED], ids=["one process", "daemons"])
def test_when_it_is_killed_the_fold_ends_and_the_next_one_gets_another(fresh: Bench, before: str) -> None:
    outcome = fresh.toy(classifier(fit=before + READY), watcher=Ready(psutil.Process.kill))
    assert (outcome.failure, outcome.message) == (
        "environment",
        "The process that holds the data was killed.",
    )
    assert fresh.seconds < 10
    succeeded(fresh.toy(classifier()))


def test_when_it_does_not_tell_an_end_nobody_waits_for_ever(
    fresh: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeeded(fresh.toy(classifier()))
    monkeypatch.setattr(run, "_PATIENCE", 1.0)
    outcome = fresh.toy(classifier(fit=READY), wall=1.0, watcher=Ready(psutil.Process.suspend))
    assert outcome.failure == "environment"
    assert outcome.message == "The process that holds the data does not tell how its child has ended."
    succeeded(fresh.toy(classifier()))


def test_when_it_does_not_answer_nobody_waits_for_ever(fresh: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeded(fresh.toy(classifier()))
    for zygote in psutil.Process().children():
        zygote.suspend()
    monkeypatch.setattr(warm, "_START", 1.0)
    outcome = fresh.toy(classifier())
    assert outcome.failure == "environment"
    assert outcome.message == "The process that holds the data did not answer in time."
    monkeypatch.undo()
    succeeded(fresh.toy(classifier()))


@pytest.mark.skipif(cgroup.make(f"datarun-test-{os.getpid()}") is None, reason="needs a control group")
def test_a_child_that_could_not_be_locked_down_is_nobodys_fault(
    fresh: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def entrances(self: cgroup.Cgroup) -> list[int]:
        return [os.open(os.devnull, os.O_RDONLY)]  # in which nobody can write that it enters

    monkeypatch.setattr(cgroup.Cgroup, "entrances", entrances)
    outcome = fresh.toy(classifier())
    assert outcome.failure == "environment"
    assert "did not start" in outcome.message


def wait_until(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)
