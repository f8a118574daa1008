"""Children that are forked ahead: the next fold does not wait for the fork, and notices nothing else of it."""

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from datarun.contract.messages import Limits, Outcome
from datarun.runner.sandbox.run import Watcher
from tests.bench import ROOM, Bench, classifier, succeeded


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench.serving(tmp_path, spares=1) as bench:
        yield bench


def run(bench: Bench, submission: Mapping[str, Any], limits: Limits = ROOM) -> Outcome:
    order = bench.fold(bench.toy_data(), ("classifier",), submission, np.arange(6), limits)
    outcome = bench.executor.run(order, "r1", Watcher())
    assert isinstance(outcome, Outcome)
    bench.executor.settle()
    return outcome


def told(bench: Bench, fit: str, top: str = "import json") -> Any:
    """What a submission printed, which is JSON."""
    return json.loads(succeeded(run(bench, classifier(fit=fit, top=top))).log)


def waiting() -> list[int]:
    """The children of this process's zygotes."""
    (zygote,) = psutil.Process().children()
    return [child.pid for child in zygote.children()]


def test_a_fold_runs_in_the_child_that_was_forked_ahead_and_leaves_another(bench: Bench) -> None:
    run(bench, classifier())
    for _ in range(3):
        (ahead,) = waiting()
        assert told(bench, "print(json.dumps(os.getpid()))") == ahead
        assert ahead not in waiting()


def test_it_is_locked_down_before_it_has_a_task(bench: Bench) -> None:
    run(bench, classifier())
    (ahead,) = waiting()
    until = time.monotonic() + 10
    while not _is_locked_down(ahead):  # it has been forked just now
        assert time.monotonic() < until


def _is_locked_down(process: int) -> bool:
    status = Path(f"/proc/{process}/status").read_text()
    return "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status and os.getsid(process) == process


def test_one_that_was_killed_costs_no_fold(bench: Bench) -> None:
    run(bench, classifier())
    (ahead,) = waiting()
    process = psutil.Process(ahead)
    os.kill(ahead, signal.SIGKILL)
    process.wait(10)
    assert told(bench, "print(json.dumps(os.getpid()))") != ahead


def test_one_that_lacks_what_a_submission_imports_is_replaced(bench: Bench) -> None:
    run(bench, classifier())
    (ahead,) = waiting()
    fit = "print(json.dumps([os.getpid(), 'sklearn.isotonic' in sys.modules]))"
    assert told(bench, f"{fit}\nimport sklearn.isotonic")[0] != ahead
    assert told(bench, f"{fit}\nimport sklearn.isotonic")[1] is True


def test_each_fold_has_its_own_limits(bench: Bench) -> None:
    run(bench, classifier())
    for memory in (1 << 30, 600 << 20):
        limits = Limits(wall=20.0, memory=memory)
        fit = "block = bytearray(800 << 20)"
        outcome = run(bench, classifier(fit=fit), limits)
        assert outcome.failure == (None if memory == 1 << 30 else "memory"), outcome.message


def test_folds_that_follow_one_another_in_such_children_find_nothing_of_each_other(bench: Bench) -> None:
    fit = "print(json.dumps(sorted(os.listdir('.')))); Path('mine').touch(); np.mine = 1"
    for _ in range(3):
        assert told(bench, f"assert not hasattr(np, 'mine')\n{fit}") == []
