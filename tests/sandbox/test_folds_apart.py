"""Folds don't meet: nothing that one does is seen by the next, or by one that runs at the same time."""

import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from datarun.contract.messages import Data, Limits, Outcome, Stopped
from datarun.runner.sandbox.run import Interrupt, Watcher
from tests.bench import PATIENCE, TOY, succeeded
from tests.sandbox.lab import COMMON, SANDBOX, Lab

pytestmark = SANDBOX

LIMITS = Limits(30.0, 1 << 30)
#: What no fold can change even for itself.
SAME_FOR_ALL = {"hash", "places"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.open(tmp_path_factory) as lab:
        yield lab


def submission(fit: str, top: str = "") -> dict[str, str]:
    lines = "".join(f"        {line}\n" for line in fit.splitlines())
    text = f"{top}\nfrom .right import Right\n\nclass Classifier(Right):\n    def fit(self, X, y):\n{lines}"
    return {path.name: path.read_text() for path in COMMON.glob("*.py")} | {"classifier.py": text}


OBSERVE = "from .observe import observe, tell, vandalise"


def seen(lab: Lab, fit: str, data: str) -> Any:
    return json.loads(succeeded(lab.run(submission(fit, OBSERVE), LIMITS, data)).log)


@pytest.mark.parametrize("data", ["toy", "csv"])
def test_nothing_that_a_fold_changes_is_seen_by_the_next(lab: Lab, data: str) -> None:
    before = seen(lab, "tell(seen=observe())", data)["seen"]
    vandal = seen(lab, "before = observe()\nvandalise()\ntell(before=before, after=observe())", data)
    unchanged = {name for name, value in vandal["before"].items() if vandal["after"][name] == value}
    assert unchanged == SAME_FOR_ALL
    assert seen(lab, "tell(seen=observe())", data)["seen"] == before
    assert "VANDAL" not in before["environment"]
    assert before["home"] == []


def test_every_fold_of_a_submission_draws_the_same_numbers(lab: Lab) -> None:
    fit = "import random, numpy\nprint(random.random(), numpy.random.rand(), hash('x'))"
    first, again = (succeeded(lab.run(submission(fit), LIMITS)).log for _ in range(2))
    other = succeeded(lab.run(submission(fit + "  # again"), LIMITS)).log
    assert first == again
    assert other.split()[:2] != first.split()[:2]


@pytest.mark.parametrize("name", ["classifier.py", "__init__.py", "new.py"])
def test_a_fold_can_not_change_its_submission(lab: Lab, name: str) -> None:
    fit = f"open(__file__.replace('classifier.py', {name!r}), 'a')"
    outcome = lab.run(submission(fit), LIMITS)
    assert (outcome.failure, outcome.message.splitlines()[-1].split(":")[0]) == (
        "user_error",
        "PermissionError",
    )


def test_what_a_fold_reads_leaves_no_trace(lab: Lab) -> None:
    """The time of a file's last reading would tell the next fold what this one has read."""
    mounts = {os.readlink(f"/proc/{process}/ns/mnt") for process in (os.getpid(), *lab.zygotes())}
    if len(mounts) == 1:
        pytest.skip("no mount namespace may be made here")
    files = {"toy.py": TOY + "\nREADABLE_BY_SUBMISSIONS = ['table.txt']\n", "table.txt": "text"}
    data = Data(lab.bench.files(files), "y", module="toy.py", n_train=8, n_test=4)
    fit = "table = os.path.join(os.getcwd(), '../../../data/table.txt')\nassert open(table).read() == 'text'"
    order = lab.bench.fold(data, ("classifier",), submission(fit, "import os"), range(6), LIMITS)
    succeeded(lab.bench.executor.run(order, "r1", Watcher()))
    (table,) = lab.bench.scratch.glob("*/data/table.txt")
    os.utime(table, (0, 0))
    succeeded(lab.bench.executor.run(order, "r1", Watcher()))
    assert table.stat().st_atime == 0
    if table.read_text() and table.stat().st_atime == 0:
        pytest.skip("nothing here tells when a file was read")


# --- at the same time -------------------------------------------------------------------------------

HOLDING = """
with open("held", "w") as file:
    file.write("mine")
os.mkfifo("pipe")
os.environ["HELD"] = "secret"
print(os.getpid(), os.getcwd(), flush=True)
time.sleep(60)
"""
MEETING = """
pid, home = {pid}, {home!r}
tries = Tries()
for path in (home, os.path.dirname(home), os.path.dirname(os.path.dirname(home))):
    tries(f"list {{path}}", os.listdir, path)
    tries(f"write {{path}}", open, os.path.join(path, "met"), "w")
    tries(f"folder {{path}}", os.mkdir, os.path.join(path, "met"))
    tries(f"enter {{path}}", lambda: (os.chdir(path), open("held")))
for name in ("held", "pipe", "../submission/classifier.py"):
    for mode in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        tries(f"open {{name}}", os.open, os.path.join(home, name), mode | os.O_NONBLOCK)
    tries(f"link {{name}}", os.link, os.path.join(home, name), f"link-{{os.path.basename(name)}}")
    tries(f"move {{name}}", os.rename, os.path.join(home, name), f"moved-{{os.path.basename(name)}}")
    tries(f"remove {{name}}", os.unlink, os.path.join(home, name))
for name in ("mem", "environ", "maps", "cmdline", "status", "stat", "fd", "fd/3", "cwd/held", "root", "task"):
    tries(name, lambda: os.listdir(f"/proc/{{pid}}/{{name}}"))
    tries(name, lambda: open(f"/proc/{{pid}}/{{name}}"))
for number in (0, signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL, signal.SIGCONT):
    tries(f"signal {{number}}", os.kill, pid, number)
    tries(f"signal {{number}} to its group", os.killpg, pid, number)
tries("pidfd", signal.pidfd_send_signal, os.pidfd_open(pid), 0)
tries("priority", os.setpriority, os.PRIO_PROCESS, pid, 19)
tries("priority of its group", os.setpriority, os.PRIO_PGRP, pid, 19)
tries("priority of its user", os.setpriority, os.PRIO_USER, 0, 19)
tries("affinity", os.sched_setaffinity, pid, {{0}})
tries("limits", resource.prlimit, pid, resource.RLIMIT_NOFILE, (5, 5))
tries("group", os.setpgid, 0, pid)
buffer = ctypes.create_string_buffer(64)
tries.call("process_vm_readv", pid, buffer, 1, buffer, 1, 0)
tries.call("ptrace", 16, pid, 0, 0)
tries.call("pidfd_getfd", os.pidfd_open(pid), 3, 0)
tries.call("kcmp", pid, os.getpid(), 0, 0, 0)
tries.tell()
"""


KILLING = """
make_sure_that_it_is_contained()
if os.fork() == 0:
    os.kill(-1, signal.SIGTERM)
    os._exit(0)
os.wait()
"""


class Holder(Watcher):
    """A fold that runs until it is told to stop: its process and its home, once it has said so."""

    def __init__(self) -> None:
        self.ready, self.enough = threading.Event(), threading.Event()
        self.printed = b""

    def output(self, chunk: bytes) -> None:
        self.printed += chunk
        if b"\n" in self.printed:
            self.ready.set()

    def tick(self) -> Interrupt | None:
        return Interrupt.STOP if self.enough.is_set() else None


@contextmanager
def holding(lab: Lab) -> Iterator[tuple[int, str]]:
    holder, results = Holder(), []
    files = submission(HOLDING, "import os, time")
    order = lab.bench.fold(lab.data["toy"], ("classifier",), files, range(6), LIMITS)
    thread = threading.Thread(target=lambda: results.append(lab.bench.executor.run(order, "r1", holder)))
    thread.start()
    try:
        assert holder.ready.wait(20), results
        pid, home = holder.printed.decode().split()
        yield int(pid), home
    finally:
        holder.enough.set()
        thread.join()
    assert results == [Stopped("job", 1, "r1")]
    lab.bench.executor.settle()
    assert not os.path.exists(home)
    assert not psutil.pid_exists(int(pid))


@pytest.mark.parametrize("data", ["toy", "csv"])
def test_a_fold_has_no_way_to_another_that_runs(lab: Lab, data: str) -> None:
    """Neither of the same data set, forked from the same process, nor of another one."""
    with holding(lab) as (pid, home):
        niceness = psutil.Process(pid).nice()
        top = "import ctypes, os, resource, signal\nfrom .tries import Tries"
        files = submission(MEETING.format(pid=pid, home=home), top)
        order = lab.bench.fold(lab.data[data], ("classifier",), files, range(6), LIMITS)
        outcome = lab.bench.executor.run(order, "r1", Watcher())
        assert isinstance(outcome, Outcome)
        assert succeeded(outcome).log == ""
        process = psutil.Process(pid)
        assert (process.status(), process.nice()) == (psutil.STATUS_SLEEPING, niceness)
        assert sorted(os.listdir(home)) == ["held", "pipe"]
        with open(f"{home}/held") as file:
            assert file.read() == "mine"


def test_what_kills_everything_kills_no_other_fold(lab: Lab) -> None:
    with holding(lab) as (pid, _):
        top = "import os, signal\nfrom .tries import make_sure_that_it_is_contained"
        order = lab.bench.fold(lab.data["toy"], ("classifier",), submission(KILLING, top), range(6), LIMITS)
        outcome = lab.bench.executor.run(order, "r1", Watcher())
        assert isinstance(outcome, Outcome)
        assert outcome.failure == "killed", outcome
        assert "SIGTERM" in outcome.message
        assert psutil.Process(pid).status() == psutil.STATUS_SLEEPING


def test_fork_bombs_at_the_same_time_all_end_in_time(lab: Lab) -> None:
    order = lab.bench.fold(
        lab.data["toy"], ("classifier",), lab.submission("fork_bomb"), range(6), Limits(20.0, 4 << 30)
    )
    started = time.monotonic()
    with ThreadPoolExecutor(2) as slots:
        jobs = [slots.submit(lab.bench.executor.run, order, "r1", Watcher()) for _ in range(2)]
    lab.bench.executor.settle()
    assert time.monotonic() - started < order.limits.wall + PATIENCE
    for job in jobs:
        outcome = job.result()
        assert isinstance(outcome, Outcome)
        assert outcome.failure in ("user_error", "memory"), outcome
    lab.innocent("toy")
