"""Time and memory: a job that takes too much of either is over soon after, with all its processes."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from datarun.contract.messages import HandedBack, Stopped
from datarun.runner.executors.process import ProcessExecutor
from datarun.runner.sandbox.run import Interrupt, Watcher
from tests.bench import MIB, Bench, classifier, succeeded

WALL = 1.5
ENDLESS = "while True: pass"
THIRTY = """
for _ in range(30):
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
"""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench.serving(tmp_path) as bench:
        yield bench


@pytest.mark.parametrize(
    "endless",
    [
        {"fit": ENDLESS},
        {"fit": "time.sleep(60)"},
        {"fit": "os.kill(os.getpid(), signal.SIGSTOP)"},
        {"fit": THIRTY + ENDLESS},
        {"predict": ENDLESS},
        {"top": ENDLESS},
        {"fit": "while True:\n    try: time.sleep(60)\n    except BaseException: pass"},
    ],
    ids=["loop", "sleep", "stopped", "processes", "predict", "import", "stubborn"],
)
def test_what_takes_too_long_is_stopped(bench: Bench, endless: dict[str, str]) -> None:
    outcome = bench.toy(classifier(**endless), wall=WALL)
    assert outcome.failure == "timeout"
    assert outcome.message == "Stopped after 1.5 s, its time limit."
    assert bench.seconds >= WALL


def test_the_runners_own_time_limit_counts_if_it_is_smaller(bench: Bench) -> None:
    bench.executor = ProcessExecutor(bench.store, bench.scratch, threads=1, time_limit=WALL)
    outcome = bench.toy(classifier(fit=ENDLESS), wall=60)
    assert outcome.message == "Stopped after 1.5 s, its time limit."
    assert bench.seconds < WALL + 5


def test_the_runners_own_time_limit_does_not_count_if_it_is_larger(bench: Bench) -> None:
    bench.executor = ProcessExecutor(bench.store, bench.scratch, threads=1, time_limit=60)
    assert bench.toy(classifier(fit=ENDLESS), wall=WALL).message == "Stopped after 1.5 s, its time limit."


ALLOCATING = {
    "slowly": "hold = []\nwhile True:\n    hold.append(np.ones(1 << 20))\n    time.sleep(0.01)",
    "fast": "hold = []\nwhile True: hold.append(np.ones(1 << 20))",
    "at once": "hold = np.ones(1 << 30)",
    "untouched": "hold = bytearray(8 << 30)",
    "small objects": "hold = None\nwhile True: hold = [hold]",
    "in children": "for _ in range(3):\n    if os.fork() == 0:\n        hold = np.ones(16 << 20)\n"
    "        time.sleep(60)\ntime.sleep(60)",
}


@pytest.mark.parametrize("how", ALLOCATING)
def test_what_takes_too_much_memory_is_stopped(bench: Bench, how: str) -> None:
    outcome = bench.toy(classifier(fit=ALLOCATING[how]), memory=256 * MIB)
    assert outcome.failure == "memory", outcome
    assert "its limit is 256 MiB" in outcome.message or "MemoryError" in outcome.message
    assert bench.seconds < 20


def test_the_stop_says_how_much_and_what_the_limit_is(bench: Bench) -> None:
    outcome = bench.toy(classifier(fit=ALLOCATING["slowly"]), memory=256 * MIB)
    words = outcome.message.split()
    assert words[:2] == ["Stopped", "at"]
    assert 256 <= int(words[2]) < 400
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


def test_a_job_within_its_limits_may_leave_processes_behind(bench: Bench) -> None:
    outcome = succeeded(bench.toy(classifier(fit=THIRTY)))
    assert outcome.arrays["test"].shape == (4, 2)


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
