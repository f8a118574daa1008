"""A slot: takes, claims, acknowledges, runs, reports. Nothing is lost or reported twice, whatever happens.

The broker is a real one in a folder, jobs are real ones or, where a test decides when a job ends, a `Gate`.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarun.broker import connection as broker
from datarun.contract import queues, wire
from datarun.contract.messages import (
    CONTRACT_VERSION,
    Claim,
    Data,
    FoldOrder,
    HandedBack,
    Limits,
    LogChunk,
    Message,
    Outcome,
    StageReached,
    Stopped,
)
from datarun.contract.states import Stage
from datarun.runner import slot
from datarun.runner.events import EventSender
from datarun.runner.executors import Executor
from datarun.runner.sandbox.run import Interrupt, Watcher
from datarun.runner.slot import Slot, TakenOrders
from tests.bench import TOY, Bench, classifier

PATIENCE = 30.0
REPORTS = (queues.RESULTS, queues.EVENTS, queues.PARKED)


class Broker:
    """The master's side: sends orders, hears reports."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, f"filesystem://{folder}"
        self.connection = broker.connect(self.url)
        broker.declare_all(self.connection)
        self.heard: dict[str, list[bytes]] = defaultdict(list)

    def send(self, queue: str, message: Message | bytes) -> None:
        body = message if isinstance(message, bytes) else wire.encode(message)
        broker.publish(self.connection, queue, body)

    def reports(self, queue: str, count: int) -> list[bytes]:
        """The next reports on this queue, as soon as there are so many."""

        def hear(message: Any) -> None:
            self.heard[message.delivery_info["routing_key"]].append(broker.body_of(message))
            message.ack()

        until = time.monotonic() + PATIENCE
        with broker.consumer(self.connection.default_channel, REPORTS, hear, prefetch=100):
            while len(self.heard[queue]) < count:
                assert time.monotonic() < until, self.heard
                try:
                    self.connection.drain_events(timeout=0.5)
                except TimeoutError:
                    continue
        reports, self.heard[queue] = self.heard[queue], []
        return reports

    def results(self, count: int) -> list[Message]:
        """The next results, as soon as there are so many; a claim that came with an outcome by itself."""
        found: list[Message] = []
        while len(found) < count:
            for body in self.reports(queues.RESULTS, 1):
                found.append(result := wire.decode(body))
                if isinstance(result, Outcome) and result.next is not None:
                    found.append(result.next)
        return found

    def files(self, queue: str) -> list[str]:
        """Messages that wait or are held by somebody."""
        return [path.name for path in (self.folder / "queues" / queue).iterdir()]

    def waiting(self, queue: str) -> int:
        return int(broker.queue(queue)(self.connection.default_channel).queue_declare(passive=True)[1])


class Gate:
    """An executor whose jobs run until they are let go, or their watcher ends them."""

    def __init__(self, open: bool = False) -> None:
        self.started: list[str] = []
        self.start, self.open = threading.Semaphore(0), threading.Event()
        if open:
            self.open.set()

    def run(self, order: Any, runner: str, watcher: Watcher) -> Outcome | HandedBack | Stopped:
        self.started.append(order.job)
        self.start.release()
        while not self.open.wait(0.02):
            if (why := watcher.tick()) is not None:
                ended = HandedBack if why is Interrupt.LEAVE else Stopped
                return ended(order.job, order.attempt, runner)
        watcher.stage(Stage.TRAINED)
        return Outcome(order.job, order.attempt, runner, arrays={"test": np.zeros(2)})

    def wait_started(self) -> None:
        assert self.start.acquire(timeout=PATIENCE)


class Serving:
    """A slot in a thread of its own."""

    def __init__(
        self, url: str, executor: Executor, names: tuple[str, ...], runner: str, grace: float
    ) -> None:
        self.stopping = threading.Event()
        events = EventSender(url, self.stopping)
        events.start()
        self.slot = Slot(runner, url, names, executor, TakenOrders(), events, self.stopping, grace)
        self.thread = threading.Thread(target=self.slot.serve)
        self.thread.start()

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Broker]:
    (tmp_path / "messages").mkdir()
    (tmp_path / "broker").symlink_to(tmp_path / "messages")
    master = Broker(tmp_path / "broker")
    yield master
    master.connection.close()


@contextmanager
def serving(
    master: Broker,
    executor: Executor,
    names: tuple[str, ...] = (queues.LIGHT,),
    runner: str = "r1",
    grace: float = 0.0,
) -> Iterator[Serving]:
    served = Serving(master.url, executor, names, runner, grace)
    try:
        yield served
    finally:
        served.stop()


def order(job: str = "job", attempt: int = 1, **fields: Any) -> FoldOrder:
    """One that only a `Gate` can run."""
    data, limits = Data({}, "y"), Limits(1.0, 1)
    about = {"fold": 1, "submission": 1}
    return FoldOrder(job, attempt, data, limits, about, {}, ("classifier",), "0" * 64, **fields)


def kinds(messages: list[Message]) -> list[tuple[str, str]]:
    return [(type(message).__name__, message.job) for message in messages]  # type: ignore[union-attr]


def wait_until(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)


# --- a job's way ----------------------------------------------------------------------------------


def test_the_claim_precedes_the_outcome(master: Broker) -> None:
    master.send("L", order(attempt=3))
    with serving(master, Gate(open=True)):
        claim, outcome = master.results(2)
    assert claim == Claim("job", 3, "r1")
    assert isinstance(outcome, Outcome)
    assert (outcome.job, outcome.attempt, outcome.runner, outcome.failure) == ("job", 3, "r1", None)
    np.testing.assert_array_equal(outcome.arrays["test"], np.zeros(2))


def test_the_order_is_claimed_and_acknowledged_before_the_job_runs(master: Broker) -> None:
    gate = Gate()
    master.send("L", order())
    with serving(master, gate) as served:
        gate.wait_started()
        assert master.files("L") == []
        assert kinds(master.results(1)) == [("Claim", "job")]
        assert served.slot.order == order()
        gate.open.set()
        assert kinds(master.results(1)) == [("Outcome", "job")]
        wait_until(lambda: served.slot.order is None)


def test_a_real_fold_from_order_to_outcome(master: Broker, tmp_path: Path) -> None:
    with Bench.serving(tmp_path) as bench, serving(master, bench.executor):
        data = Data(bench.files({"toy.py": TOY}), "y", module="toy.py", n_train=8, n_test=4)
        submission = classifier(
            fit=r"os.write(1, b'epoch 1\n'); time.sleep(0.5)",
            predict="time.sleep(0.5); return np.full((len(X), 2), 0.5)",
        )
        master.send("L", bench.fold(data, ("classifier",), submission, np.arange(6)))
        claim, outcome = master.results(2)
        events = [wire.decode(body) for body in master.reports(queues.EVENTS, 3)]
    assert isinstance(claim, Claim)
    assert isinstance(outcome, Outcome)
    assert outcome.failure is None
    assert outcome.arrays["train"].shape == (8, 2)
    assert [event.stage for event in events if isinstance(event, StageReached)] == ["trained", "validated"]
    assert [event.text for event in events if isinstance(event, LogChunk)] == ["epoch 1\n"]


# --- orders that can't be taken -------------------------------------------------------------------

GARBAGE = [b"", b"\x80\x04garbage", wire.encode(Claim("job", 1, "r2")), wire.encode(order())[:-1]]


@pytest.mark.parametrize("garbage", GARBAGE, ids=["empty", "bytes", "no order", "cut short"])
def test_what_is_no_order_is_parked_and_the_next_one_runs(master: Broker, garbage: bytes) -> None:
    master.send("L", garbage)
    master.send("L", order())
    with serving(master, Gate(open=True)):
        assert kinds(master.results(2)) == [("Claim", "job"), ("Outcome", "job")]
        assert master.reports(queues.PARKED, 1) == [garbage]
    assert master.files("L") == []


def test_what_a_slot_takes_next_is_said_with_the_outcome_before(master: Broker) -> None:
    for job in ("first", "next"):
        master.send("L", order(job))
    with serving(master, Gate(open=True)):
        _, first, last = (wire.decode(body) for body in master.reports(queues.RESULTS, 3))
    assert isinstance(first, Outcome)
    assert (first.job, first.next) == ("first", Claim("next", 1, "r1"))
    assert isinstance(last, Outcome)
    assert (last.job, last.next) == ("next", None)


def test_an_order_that_comes_twice_runs_once(master: Broker) -> None:
    gate = Gate(open=True)
    for attempt in (1, 1, 2):
        master.send("L", order(attempt=attempt))
    with serving(master, gate):
        results = master.results(4)
    assert gate.started == ["job", "job"]
    assert [r.attempt for r in results if isinstance(r, Outcome)] == [1, 2]


def test_an_order_that_avoids_this_runner_is_left_to_another(master: Broker) -> None:
    gate, other = Gate(open=True), Gate(open=True)
    master.send("L", order(avoid="r1"))
    with serving(master, gate), serving(master, other, runner="r2"):
        results = master.results(2)
    assert (gate.started, other.started) == ([], ["job"])
    assert {result.runner for result in results} == {"r2"}  # type: ignore[union-attr]


def test_a_claim_of_which_nobody_knows_whether_it_arrived_is_given_back(
    master: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker took it, and its confirmation was lost with the connection."""
    wait, gate = broker.Sent.wait, Gate(open=True)

    def loses_its_first_confirmation(sent: broker.Sent) -> None:
        monkeypatch.undo()
        wait(sent)
        raise ConnectionResetError

    master.send("L", order())
    monkeypatch.setattr(broker.Sent, "wait", loses_its_first_confirmation)
    with serving(master, gate):
        results = master.results(4)
    assert [type(result) for result in results] == [Claim, HandedBack, Claim, Outcome]
    assert gate.started == ["job", "job"]  # the first time for nothing


# --- several queues, several slots ----------------------------------------------------------------


def test_no_order_of_several_queues_is_lost_or_run_twice(master: Broker) -> None:
    names = queues.ORDER_QUEUES
    gate, other = Gate(), Gate(open=True)
    for name in names:
        master.send(name, order(name))
    with serving(master, gate, names):
        gate.wait_started()
        with serving(master, other, names, runner="r2"):
            results = master.results(5)  # the busy slot's claim, and two jobs of the other
            assert len(gate.started) == 1
            gate.open.set()
            results += master.results(1)
    assert sorted(gate.started + other.started) == sorted(names)
    assert sorted(job for kind, job in kinds(results) if kind == "Outcome") == sorted(names)
    assert [master.files(name) for name in (*names, queues.RESULTS)] == [[]] * 4


def test_no_queue_waits_for_as_long_as_another_has_orders(master: Broker) -> None:
    gate = Gate(open=True)
    for name in queues.PRIORITIES:
        for number in range(3):
            master.send(name, order(f"{name}{number}"))
    with serving(master, gate, queues.PRIORITIES):
        master.results(12)
    assert [{*gate.started[turn : turn + 2]} for turn in (0, 2, 4)] == [{f"L{n}", f"H{n}"} for n in range(3)]


def test_a_busy_slot_holds_no_second_order(master: Broker) -> None:
    gate = Gate()
    for number in range(3):
        master.send("L", order(str(number)))
    with serving(master, gate):
        gate.wait_started()
        assert master.waiting("L") == 2
        gate.open.set()
        assert [job for _, job in kinds(master.results(6))] == ["0", "0", "1", "1", "2", "2"]


# --- stopping -------------------------------------------------------------------------------------


def test_an_idle_slot_stops_at_once_and_leaves_orders_to_others(master: Broker) -> None:
    started = time.monotonic()
    with serving(master, Gate()):
        pass
    assert time.monotonic() - started < 3
    master.send("L", order())
    assert master.waiting("L") == 1


def test_a_job_may_end_within_the_grace(master: Broker) -> None:
    gate = Gate()
    master.send("L", order())
    with serving(master, gate, grace=PATIENCE) as served:
        gate.wait_started()
        served.stopping.set()
        gate.open.set()
        assert kinds(master.results(2)) == [("Claim", "job"), ("Outcome", "job")]


def test_a_job_is_handed_back_after_the_grace(master: Broker, tmp_path: Path) -> None:
    with Bench.serving(tmp_path) as bench, serving(master, bench.executor, grace=0.5) as served:
        data = Data(bench.files({"toy.py": TOY}), "y", module="toy.py", n_train=8, n_test=4)
        submission = classifier(fit="Path('ready').touch()\ntime.sleep(60)")
        master.send("L", bench.fold(data, ("classifier",), submission, np.arange(6)))
        wait_until(lambda: any(bench.scratch.glob("*/jobs/*/home/ready")))
        stopped = time.monotonic()
        served.stop()
        assert 0.5 <= time.monotonic() - stopped < 5
        assert list(bench.scratch.glob("*/jobs/*")) == []
    assert master.results(2) == [Claim("job", 1, "r1"), HandedBack("job", 1, "r1")]


def test_a_slot_that_stops_takes_no_further_order(master: Broker) -> None:
    gate = Gate()
    master.send("L", order("first"))
    master.send("L", order("second"))
    with serving(master, gate, grace=PATIENCE) as served:
        gate.wait_started()
        served.stopping.set()
        gate.open.set()
        assert kinds(master.results(2)) == [("Claim", "first"), ("Outcome", "first")]
    assert gate.started == ["first"]
    assert master.waiting("L") == 1


def test_an_unwanted_job_is_stopped_and_the_next_one_runs(master: Broker) -> None:
    gate = Gate()
    master.send("L", order("unwanted"))
    master.send("L", order("next"))
    with serving(master, gate) as served:
        gate.wait_started()
        served.slot.stop("unwanted", 2)  # another attempt, and another job: not this one
        served.slot.stop("next", 1)
        assert not gate.start.acquire(timeout=0.2)
        served.slot.stop("unwanted", 1)
        gate.wait_started()
        gate.open.set()
        results = master.results(4)
    assert results[1] == Stopped("unwanted", 1, "r1")
    assert kinds(results[2:]) == [("Claim", "next"), ("Outcome", "next")]


# --- a runner that does not suit the master --------------------------------------------------------


def test_a_suspended_slot_takes_no_order_until_it_is_over(master: Broker) -> None:
    with serving(master, Gate(open=True)) as served:
        master.send("L", order("first"))
        master.results(2)
        served.slot.suspend(1.0)
        suspended_at = time.monotonic()
        master.send("L", order("next"))
        assert kinds(master.results(2)) == [("Claim", "next"), ("Outcome", "next")]
    assert time.monotonic() > suspended_at + 1.0


@pytest.mark.parametrize("version", [CONTRACT_VERSION - 1, CONTRACT_VERSION + 1], ids=["older", "newer"])
def test_an_order_of_another_version_is_left_to_others_once_the_runner_does_not_suit(
    master: Broker, version: int
) -> None:
    master.send("L", of_version(version))
    with serving(master, Gate(open=True)) as served:
        wait_until(lambda: not served.slot.serving)
        served.slot.suspend(PATIENCE)
        wait_until(lambda: served.slot.serving)
    assert master.waiting("L") == 1
    assert not master.files(queues.PARKED)


def test_an_order_that_an_earlier_master_left_is_parked(
    master: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot, "_INCOMPATIBLE", 0.5)
    old = of_version(CONTRACT_VERSION - 1)
    with serving(master, Gate(open=True)):
        for _ in ("as it starts", "later"):
            master.send("L", old)
            master.send("L", order("next"))
            assert master.reports(queues.PARKED, 1) == [old]
        assert kinds(master.results(2)) == [("Claim", "next"), ("Outcome", "next")]


def of_version(version: int) -> bytes:
    """An order as another version of the master says it."""
    body = wire.encode(order())
    return body.replace(b'"version": %d' % CONTRACT_VERSION, b'"version": %d' % version, 1)


# --- a broker that is away ------------------------------------------------------------------------


@contextmanager
def away(folder: Path) -> Iterator[None]:
    """The broker's folder is gone, and nobody can make it anew. (It goes and comes at once: it is a link.)"""
    nowhere, back = folder.with_name("nowhere"), folder.with_name("back")
    back.symlink_to(folder.readlink())
    (folder.parent / "file").touch()
    nowhere.symlink_to(folder.parent / "file")
    nowhere.replace(folder)
    try:
        yield
    finally:
        back.replace(folder)


def test_a_job_outlives_its_broker_and_its_outcome_is_delivered_late(
    master: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    master.send("L", order())
    with serving(master, gate):
        gate.wait_started()
        assert kinds(master.results(1)) == [("Claim", "job")]
        with away(master.folder):
            gate.open.set()
            wait_until(lambda: caplog.text.count("trying again") > 1)
        assert kinds(master.results(1)) == [("Outcome", "job")]
    assert gate.started == ["job"]


def test_an_outcome_that_is_due_is_delivered_even_while_stopping(
    master: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    master.send("L", order())
    with serving(master, gate, grace=PATIENCE) as served:
        gate.wait_started()
        with away(master.folder):
            gate.open.set()
            served.stopping.set()
            wait_until(lambda: caplog.text.count("trying again") > 1)
            assert served.thread.is_alive()
        assert kinds(master.results(2)) == [("Claim", "job"), ("Outcome", "job")]


def test_an_idle_slot_comes_back_when_its_broker_does(
    master: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate(open=True)
    with serving(master, gate):
        with away(master.folder):
            wait_until(lambda: caplog.text.count("trying again") > 1)
        master.send("L", order())
        assert kinds(master.results(2)) == [("Claim", "job"), ("Outcome", "job")]


def test_a_broker_that_lost_everything_is_set_up_anew(master: Broker) -> None:
    gate = Gate(open=True)
    with serving(master, gate):
        master.connection.close()
        (master.folder.parent / "lost").mkdir()
        (master.folder.parent / "link").symlink_to(master.folder.parent / "lost")
        (master.folder.parent / "link").replace(master.folder)
        again = Broker(master.folder)
        again.send("L", order())
        results: list[Message] = []
        while not any(isinstance(result, Outcome) for result in results):
            results += again.results(1)
        # A claim that went nowhere may have been given back before.
        assert kinds(results)[-2:] == [("Claim", "job"), ("Outcome", "job")]
        again.connection.close()
