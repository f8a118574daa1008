"""Limits: of a job's order, of its runner, and of the time that a job gets to finish. Which jobs exceed them, and
how, is told by the cases of `tests/sandbox`."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datarun.contract.messages import HandedBack, Outcome, Stopped
from datarun.runner.executors.process import ProcessExecutor
from datarun.runner.sandbox import cgroup
from datarun.runner.sandbox.run import Interrupt, Watcher
from tests.bench import MIB, ROOM, Bench, classifier, succeeded

WALL = 1.5
ENDLESS = "while True: pass"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench.serving(tmp_path) as bench:
        yield bench


def test_the_runners_own_time_limit_counts_if_it_is_smaller(bench: Bench) -> None:
    bench.executor = ProcessExecutor(bench.store, bench.scratch, threads=1, time_limit=WALL)
    outcome = bench.toy(classifier(fit=ENDLESS), wall=60)
    assert outcome.message == "Stopped after 1.5 s, its time limit."
    assert bench.seconds < WALL + 5


def test_the_runners_own_time_limit_does_not_count_if_it_is_larger(bench: Bench) -> None:
    bench.executor = ProcessExecutor(bench.store, bench.scratch, threads=1, time_limit=60)
    assert bench.toy(classifier(fit=ENDLESS), wall=WALL).message == "Stopped after 1.5 s, its time limit."


def run(bench: Bench, submission: dict[str, str], **limits: float) -> Outcome:
    """The outcome of a submission to the toy data set, with these limits beside the usual ones."""
    order = bench.fold(bench.toy_data(), ("classifier",), submission, np.arange(6), replace(ROOM, **limits))
    return bench.run(order)


def test_processor_time_is_limited_whatever_the_clock_says(bench: Bench) -> None:
    outcome = run(bench, classifier(fit=ENDLESS), cpu=0.5)
    assert (outcome.failure, outcome.message) == (
        "timeout",
        "Stopped after 0.5 s of processor time, its limit.",
    )


def test_processor_time_of_all_its_processes_counts(bench: Bench) -> None:
    fit = "for _ in range(3):\n    if os.fork() == 0:\n        while True: pass\ntime.sleep(60)"
    assert "processor time" in run(bench, classifier(fit=fit), cpu=0.5).message


def test_at_the_soft_limit_a_job_is_told_to_finish(bench: Bench) -> None:
    fit = "try:\n    time.sleep(60)\nexcept TimeoutError as error:\n    print(error)"
    outcome = succeeded(run(bench, classifier(fit=fit), soft=0.3))
    assert outcome.log == "The soft time limit of 0.3 s is over: finish now.\n"


def test_who_does_not_finish_at_the_soft_limit_has_run_out_of_time(bench: Bench) -> None:
    outcome = run(bench, classifier(fit="time.sleep(60)"), soft=0.3)
    assert outcome.failure == "timeout"
    assert outcome.message.splitlines()[-2:] == [
        "    time.sleep(60)",
        "TimeoutError: The soft time limit of 0.3 s is over: finish now.",
    ]


def test_a_time_out_of_its_own_is_an_error_of_its_own(bench: Bench) -> None:
    outcome = run(bench, classifier(fit="raise TimeoutError('no answer')"), soft=30.0)
    assert outcome.failure == "user_error"


def test_the_stop_says_how_much_and_what_the_limit_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "make", lambda name: None)  # the kernel is faster, and says less
    fit = "hold = []\nwhile True:\n    hold.append(np.ones(1 << 20))\n    time.sleep(0.01)"
    outcome = bench.toy(classifier(fit=fit), memory=256 * MIB)
    words = outcome.message.split()
    assert words[:2] == ["Stopped", "at"]
    assert 256 <= int(words[2]) < 600
    assert outcome.message.endswith(" MiB of memory: its limit is 256 MiB.")


def test_memory_that_processes_share_is_counted_once(bench: Bench) -> None:
    fit = """
    shared = np.ones(25 << 20)  # 200 MiB
    children = [os.fork() for _ in range(4) if os.getpid() == self.first()]
    time.sleep(1)
    if os.getpid() != self.first():
        os._exit(0)
    for child in children:
        os.waitpid(child, 0)
    """
    top = "FIRST = os.getpid()"
    submission = classifier(fit=fit.replace("self.first()", "FIRST"), top=top)
    succeeded(bench.toy(submission, memory=600 * MIB))


class Ending(Watcher):
    """Asks for the job's end as soon as it is trained."""

    def __init__(self, why: Interrupt) -> None:
        self._why, self.trained_at = why, 0.0

    def stage(self, stage: str) -> None:
        self.trained_at = time.monotonic()

    def tick(self) -> Interrupt | None:
        return self._why if self.trained_at else None


@pytest.mark.parametrize(("why", "result"), [(Interrupt.STOP, Stopped), (Interrupt.LEAVE, HandedBack)])
def test_a_job_ends_when_its_runner_asks_for_it(bench: Bench, why: Interrupt, result: type) -> None:
    watcher = Ending(why)
    assert bench.toy(classifier(predict="time.sleep(60)"), watcher=watcher) == result("job", 1, "r1")
    assert time.monotonic() - watcher.trained_at < 5
