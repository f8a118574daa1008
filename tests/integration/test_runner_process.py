"""The real command that starts a runner: it says that it lives, works, and ends when it is asked to."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from test_slot import PATIENCE, Broker, order

from datarun import __version__
from datarun.contract import queues, wire
from datarun.contract.messages import (
    Claim,
    FoldOrder,
    HandedBack,
    Heartbeat,
    LogChunk,
    Outcome,
    Stop,
    Stopped,
)
from tests.bench import Bench, classifier, leftovers

ROOT = Path(__file__).parents[2]
GRACE = 2.0


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench.serving(tmp_path / "bench") as bench:
        yield bench


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Broker]:
    master = Broker(tmp_path / "broker")
    yield master
    master.connection.close()


class Runner:
    """The process, what it logs, and its name among runners."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, name: str) -> None:
        self.process, self.name, self._log = process, name, log

    def log(self) -> str:
        return self._log.read_text()

    def ends(self, number: int) -> tuple[int, float]:
        """Its exit code after this signal, and the seconds until then."""
        started = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(PATIENCE), time.monotonic() - started


def environment(folder: Path, **values: str) -> dict[str, str]:
    """Nothing but what a machine has, and these settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    paths = {"DIR_DATA": f"{folder}/data", "DIR_SUBMISSION": f"{folder}/scratch", "PYTHONPATH": str(ROOT)}
    return kept | paths | values


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "datarun", "worker", "-l", "info", *arguments]


@contextmanager
def running(folder: Path, master: Broker, bench: Bench, *arguments: str, **more: str) -> Iterator[Runner]:
    settings = {"BROKER_URL": master.url, "MASTER_URL": bench.blobs.url, "DR_GRACE": str(GRACE), **more}
    arguments = arguments or ("-Q", "L,celery", "-c", "1", "-n", "r1@%h")
    log = folder / "runner.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(*arguments),
            env=environment(folder, **settings),
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    runner = Runner(process, log, f"r1@{os.uname().nodename}")
    try:
        yield runner
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def heartbeats(master: Broker, count: int) -> list[Heartbeat]:
    found: list[Heartbeat] = []
    while len(found) < count:
        events = [wire.decode(body) for body in master.reports(queues.EVENTS, 1)]
        found += [event for event in events if isinstance(event, Heartbeat)]
    return found


def await_leaving(master: Broker) -> None:
    while not heartbeats(master, 1)[-1].leaving:
        pass


def endless(bench: Bench, rest: str = "time.sleep(60)") -> FoldOrder:
    """A fold that prints something and goes on."""
    submission = classifier(fit=f"print('ready', flush=True)\n{rest}")
    return bench.fold(bench.toy_data(), ("classifier",), submission, np.arange(6))


def await_output(master: Broker) -> None:
    while not any(isinstance(wire.decode(body), LogChunk) for body in master.reports(queues.EVENTS, 1)):
        pass


def test_it_says_that_it_lives_and_what_it_serves(tmp_path: Path, master: Broker, bench: Bench) -> None:
    with running(tmp_path, master, bench) as runner:
        first, second = heartbeats(master, 2)[:2]
        assert (first.runner, first.queues, first.slots) == (runner.name, ("L", "celery"), 1)
        assert (first.running, first.leaving) == ({}, False)
        assert first.versions["datarun"] == __version__
        assert {"numpy", "pandas", "scikit-learn", "python", "contract"} <= set(first.versions)
        assert second.runner == runner.name


def test_it_takes_from_its_own_queues_only(tmp_path: Path, master: Broker, bench: Bench) -> None:
    master.send("H", order("heavy"))
    with running(tmp_path, master, bench) as runner:
        master.send("L", endless(bench, "pass"))
        claim, outcome = master.results(2)
    assert claim == Claim("job", 1, runner.name)
    assert isinstance(outcome, Outcome)
    assert outcome.failure is None
    assert master.waiting("H") == 1


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 0), (signal.SIGINT, 1), (signal.SIGQUIT, 0)],
)
def test_an_idle_runner_ends_at_once_and_says_that_it_leaves(
    tmp_path: Path, master: Broker, bench: Bench, number: int, code: int
) -> None:
    with running(tmp_path, master, bench) as runner:
        heartbeats(master, 1)
        ended, seconds = runner.ends(number)
        assert "Traceback" not in runner.log()
        assert ended == code
        assert seconds < GRACE + 3
        await_leaving(master)


def test_a_running_job_gets_its_grace_and_is_handed_back(
    tmp_path: Path, master: Broker, bench: Bench
) -> None:
    master.send("L", endless(bench))
    with running(tmp_path, master, bench) as runner:
        await_output(master)
        code, seconds = runner.ends(signal.SIGTERM)
        assert code == 0, runner.log()
        assert GRACE <= seconds < GRACE + 5
    assert master.results(2) == [Claim("job", 1, runner.name), HandedBack("job", 1, runner.name)]
    await_leaving(master)
    assert leftovers(tmp_path / "scratch") == []


def test_a_job_that_ends_within_the_grace_is_reported(tmp_path: Path, master: Broker, bench: Bench) -> None:
    master.send("L", endless(bench, "time.sleep(1)"))
    with running(tmp_path, master, bench) as runner:
        await_output(master)
        code, seconds = runner.ends(signal.SIGTERM)
        assert code == 0, runner.log()
        assert seconds < GRACE + 3
    outcome = master.results(2)[1]
    assert isinstance(outcome, Outcome)
    assert outcome.failure is None


def test_a_killed_runner_leaves_no_process_behind(tmp_path: Path, master: Broker, bench: Bench) -> None:
    master.send("L", endless(bench))
    with running(tmp_path, master, bench) as runner:
        await_output(master)
        tree = psutil.Process(runner.process.pid).children(recursive=True)
        assert len(tree) >= 2
        runner.ends(signal.SIGKILL)
        _, alive = psutil.wait_procs(tree, timeout=5)
        assert alive == []
    assert leftovers(tmp_path / "scratch") == []


def test_it_stops_a_job_that_it_is_told_to_stop(tmp_path: Path, master: Broker, bench: Bench) -> None:
    master.send("L", endless(bench))
    with running(tmp_path, master, bench) as runner:
        await_output(master)
        assert heartbeats(master, 2)[-1].running == {"job": 1}
        master.send(queues.control(runner.name), b"garbage")
        master.send(queues.control(runner.name), Stop("job", 1, "cancelled"))
        assert master.results(2) == [Claim("job", 1, runner.name), Stopped("job", 1, runner.name)]
        assert runner.process.poll() is None


def test_its_own_time_limit_counts(tmp_path: Path, master: Broker, bench: Bench) -> None:
    arguments = ("-Q", "L", "-c", "1", "-n", "r1@%h", "--time-limit", "2")
    master.send("L", endless(bench))
    with running(tmp_path, master, bench, *arguments):
        outcome = master.results(2)[1]
    assert isinstance(outcome, Outcome)
    assert (outcome.failure, outcome.message) == ("timeout", "Stopped after 2 s, its time limit.")


def test_its_own_soft_time_limit_counts(tmp_path: Path, master: Broker, bench: Bench) -> None:
    arguments = ("-Q", "L", "-c", "1", "-n", "r1@%h", "--time-limit", "60", "--soft-time-limit", "1")
    finishes = "try:\n    time.sleep(60)\nexcept TimeoutError:\n    print('finishing')"
    master.send("L", endless(bench, finishes))
    with running(tmp_path, master, bench, *arguments):
        outcome = master.results(2)[1]
    assert isinstance(outcome, Outcome)
    assert (outcome.failure, outcome.log) == (None, "ready\nfinishing\n")


def test_without_settings_it_has_the_slots_and_queues_of_a_laptop(
    tmp_path: Path, master: Broker, bench: Bench
) -> None:
    with running(tmp_path, master, bench, "-n", "r1@%h"):
        heartbeat = heartbeats(master, 1)[0]
        assert (heartbeat.queues, heartbeat.slots) == (("H", "L", "celery"), 2)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"DR_WORKING_ENV": "PROD", "BROKER_URL": "filesystem:///nowhere"}, "DR_RUNNER_TOKEN is not set"),
        ({"DR_WORKING_ENV": "PROD", "DR_RUNNER_TOKEN": "t"}, "RMQ_USER is not set"),
        ({"DR_WORKING_ENV": "production"}, "DR_WORKING_ENV is 'production'"),
        ({"BROKER_URL": "redis://localhost"}, "BROKER_URL names no broker"),
        ({"NB_LOCAL_WORKER": "many"}, "NB_LOCAL_WORKER is 'many'"),
        ({"DR_GRACE": "soon"}, "DR_GRACE is 'soon'"),
    ],
)
def test_a_missing_or_bad_setting_stops_it_with_one_line(
    tmp_path: Path, settings: dict[str, str], line: str
) -> None:
    ended = subprocess.run(
        command("-n", "r1@%h"),
        env=environment(tmp_path, **settings),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode not in (0, None)
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(f"datarun: {line}")
