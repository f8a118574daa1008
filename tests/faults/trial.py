"""A trial: the platform works on folds in every state, a fault strikes, and all of it is counted afterwards."""

import base64
import os
import random
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import numpy as np
import requests
from numpy.typing import NDArray

from datarun.contract.states import Stage
from test_files import post_api

from .ledger import PREPARING, STATES, End, wait_for
from .stack import Stack, runner_name
from .workload import Client, Fold, Workload

_NAP = 0.5  # seconds that some folds sleep in each stage
_SHORT_NAP = 0.05  # the same, of most: were they any shorter, all of them would wait in the broker at once
_LONG_NAP = 5.0  # the same, of long ones: they run for longer than a lease, and than consumer_timeout
_PREPARATION = 6.0  # seconds that the data set takes which is being prepared when the fault strikes
_ALL_STATES = 5  # times that a data set is prepared in the hope of folds in every state meanwhile
_STANDSTILL = 60.0  # seconds without any change after which there will be none
_PROMISED = 15.0  # seconds in which a runner's death is found, and a scheduler that hangs is replaced

HEADER = f"{'':44}submitted   right   wrong    lost   twice waiting  normal after"


class TrialFailed(AssertionError):
    """A fold was lost, counted twice, wrong, or tried again without a reason; says which."""


@dataclass
class Fault:
    """One fault, being struck. What it names here explains attempts that are lost."""

    name: str
    stack: Stack
    rng: random.Random
    folds: list[Fold]
    #: Those of the folds that take so long that they run when it strikes, and still when a lease is over.
    long: list[int] = field(default_factory=list)
    struck_at: float = 0.0
    #: Runners whose attempts may be lost.
    victims: set[str] = field(default_factory=set)
    #: Whether an order may be lost before a runner has it.
    orders_may_vanish: bool = False
    #: Whether there are messages that nobody can read.
    garbage: bool = False
    #: Those of the folds that were cancelled, and those that were made to wait for longer than they may.
    cancelled: set[int] = field(default_factory=set)
    overdue: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    @property
    def ids(self) -> list[int]:
        return [fold.id for fold in self.folds]

    def victim(self, folds: list[int] | None = None) -> str:
        """A runner that runs one of these folds now, or any that will go on for a moment."""
        names = self.rng.sample(self.stack.runners, len(self.stack.runners))

        def busy() -> str | None:
            if folds is not None:
                return next((name for name in names if self.running_on(name, folds)), None)
            return next((name for name in names if self.running_on(name, stage=Stage.TRAINED)), None)

        name = wait_for(busy, "a busy runner")
        assert name is not None
        self.victims.add(runner_name(name))
        return name

    def running_on(
        self, name: str, folds: list[int] | None = None, stage: str = "", seconds: float = 0
    ) -> list[int]:
        """Those of the folds, or of all, that run on the runner with this name: for so long, at this stage."""
        ids = self.ids if folds is None else folds
        return self.stack.ledger.running_on(runner_name(name), ids, stage, seconds)

    def wait(self, at_least: float, at_most: float) -> None:
        """Lets the fault last for so many seconds."""
        time.sleep(self.rng.uniform(at_least, at_most))

    def wait_for_end(self) -> None:
        """Returns when every fold has ended, or none does any more."""
        left, until = len(self.folds) + 1, 0.0
        while now := self.stack.ledger.left(self.ids):
            if now < left:
                left, until = now, time.monotonic() + _STANDSTILL
            elif time.monotonic() > until:
                return
            time.sleep(0.1)

    def expect(self, condition: Callable[[], object], what: str, since: float | None = None) -> None:
        """Waits for what is promised within 15 s of `since`, a number of `seconds`, or of now; notes when it came.

        Where other work takes the processors, that it came late is noted, and no failure.
        """
        since = self.seconds() if since is None else since
        wait_for(condition, what)
        taken = self.seconds() - since
        self.notes.append(f"{what} after {taken:.1f} s")
        if taken > _PROMISED:
            load, processors = os.getloadavg()[0], os.cpu_count() or 1
            assert load > 2 * processors, f"{what} came after {taken:.1f} s, and not within {_PROMISED:g} s"
            self.notes.append(f"later than promised, at a load of {load:.0f} on {processors} processors")

    def seconds(self) -> float:
        """Since it struck."""
        return self.stack.ledger.now() - self.struck_at


@dataclass
class Tally:
    """What became of the folds."""

    submitted: int
    right: int = 0
    wrong: int = 0
    lost: int = 0
    twice: int = 0
    waiting: int = 0
    unexplained: int = 0
    tried_again: int = 0
    handed_back: int = 0
    problems: list[str] = field(default_factory=list)

    def row(self, name: str, seconds: float) -> str:
        numbers = (self.right, self.wrong, self.lost, self.twice, self.waiting)
        return f"{name:44}{self.submitted:9}" + "".join(f"{n:8}" for n in numbers) + f"{seconds:12.1f} s"


class Trial:
    """Strikes one stack with faults; `number` is how many folds are submitted for each."""

    def __init__(self, stack: Stack, seed: int, number: int, say: Callable[[str], None]) -> None:
        self.stack, self._seed, self._number, self._say = stack, seed, number, say

    @contextmanager
    def strike(self, name: str, long: int = 0, nap: float = _LONG_NAP) -> Iterator[Fault]:
        """Has folds in every state when the block begins; expects that all of them end right after it.

        `long` of them are long: they nap for `nap` seconds in each of three stages.
        """
        self.stack.wait_until_normal()
        fault = Fault(name, self.stack, random.Random(f"{self._seed} {name}"), [])
        with Mailbox(self.stack.client) as mailbox:
            # Content of its own for each fault: what an earlier one has left in caches and folders is of no use.
            workload = Workload(self.stack.client, random.Random(f"{self._seed} {fault.name} {self._number}"))
            self._submit(fault, workload, long, nap)
            dropped = self.stack.ledger.dropped()
            census = self._wait_for_every_state(fault, workload)
            fault.struck_at = self.stack.ledger.now()
            in_flight = self.stack.ledger.in_flight(fault.ids)
            self._say("")
            self._say(f"{name}, with " + ", ".join(f"{state} {census[state]}" for state in STATES))
            yield fault
            in_flight += self.stack.ledger.in_flight(fault.ids)
            fault.wait_for_end()
        dropped = self.stack.ledger.dropped() - dropped
        tally = self._count(fault, mailbox)
        if dropped["parked"] and not fault.garbage:
            tally.problems.append(f"parked: {dropped['parked']} messages could not be recorded")
        normal = self.stack.ledger.ended_at(in_flight) - fault.struck_at
        self._say(tally.row(name, normal))
        self._say_more(fault, tally, dropped)
        if tally.problems:
            raise TrialFailed("\n".join([name, *tally.problems[:20]]))
        self.stack.wait_until_normal()

    def _submit(self, fault: Fault, workload: Workload, long: int, nap: float) -> None:
        """Posts the folds, and cancels some."""
        data, wide = workload.data_set(), workload.data_set(wide=True)
        # Each is a submission of its own, and submissions take turns.
        long_folds = workload.folds(data, long, nap)
        napping = workload.folds(data, self._number // 4, _NAP)
        fault.folds += [
            *(long_folds + napping),
            *workload.folds(data, self._number * 3 // 5, _SHORT_NAP),
            *workload.folds(data, 2, fails=True),
            *workload.folds(wide, self._number // 8),
        ]
        fault.long = [fold.id for fold in long_folds]
        fault.cancelled = {fold.id for fold in napping[-3:]}
        for id in fault.cancelled:
            answer = requests.post(
                f"{self.stack.url}runapp/submissionfold/{id}/cancel/", auth=self.stack.client[1:], timeout=30
            )
            assert answer.ok, answer.text
        for data_set in (wide, data):  # from here on they run
            workload.prepare(data_set)

    def _wait_for_every_state(self, fault: Fault, workload: Workload) -> Counter[str]:
        """How many folds are in each state, at a moment at which there are some in every one and data are prepared.

        Preparation begins when folds are in all other states; should it end too soon, another data set follows.
        """
        for _ in range(_ALL_STATES):
            late = workload.data_set(wide=True, seconds=_PREPARATION)
            fault.folds += workload.folds(late, self._number // 20)
            self._wait_for_census(fault, lambda found: all(found[s] for s in STATES if s != PREPARING))
            workload.prepare(late)
            census = self._wait_for_census(
                fault, lambda found: all(found[s] for s in STATES) or not found["waiting for data"]
            )
            if census["waiting for data"]:
                return census
        raise TrialFailed(f"there were never folds in every state at once, the last: {census}")

    def _wait_for_census(self, fault: Fault, reached: Callable[[Counter[str]], bool]) -> Counter[str]:
        """The first census that is such, for as long as there is any change from one to the next."""
        census, until = Counter[str](), 0.0
        while True:
            last, census = census, self.stack.ledger.census(fault.ids)
            if reached(census):
                return census
            if census != last:
                until = time.monotonic() + _STANDSTILL
            if time.monotonic() > until:
                raise TrialFailed(f"nothing changes for {_STANDSTILL:g} s: {census}")
            time.sleep(0.05)

    # --- counting ----------------------------------------------------------------------------------

    def _count(self, fault: Fault, mailbox: "Mailbox") -> Tally:
        tally = Tally(len(fault.folds))
        ends = self.stack.ledger.ends(fault.ids)
        succeeded = [id for id, end in ends.items() if end.state == "succeeded"]
        given = mailbox.fetch(succeeded)
        twice = self.stack.ledger.counted_twice(fault.ids) | mailbox.twice & set(fault.ids)
        for fold in fault.folds:
            end = ends.get(fold.id)
            verdict = _verdict(fold, end, given.get(fold.id), fault)
            setattr(tally, verdict, getattr(tally, verdict) + 1)
            if verdict != "right":
                tally.problems.append(f"{verdict}: fold {fold.id}, {end}")
            if fold.id in twice:
                tally.twice += 1
                tally.problems.append(f"counted twice: fold {fold.id}, {end}")
            tally.handed_back += end.handed_back if end else 0
            for runner, why in end.lost if end else ():
                tally.tried_again += 1
                if not (runner in fault.victims or (not runner and fault.orders_may_vanish)):
                    tally.unexplained += 1
                    tally.problems.append(f"tried again without need: fold {fold.id}, {runner}: {why}")
        if fault.victims and not tally.tried_again:
            tally.problems.append(f"it did no harm: no attempt on {', '.join(fault.victims)} was lost")
        return tally

    def _say_more(self, fault: Fault, tally: Tally, dropped: Counter[str]) -> None:
        if tally.tried_again:
            fault.notes.append(f"{tally.tried_again} tried again")
        if tally.handed_back:
            fault.notes.append(f"{tally.handed_back} handed back")
        if dropped:
            fault.notes.append("dropped " + ", ".join(f"{number} {why}" for why, number in dropped.items()))
        if fault.notes:
            self._say("    " + "; ".join(fault.notes))


def _verdict(fold: Fold, end: End | None, given: dict[str, Any] | None, fault: Fault) -> str:
    """What became of a fold: right, wrong, lost or waiting."""
    if end is None:
        return "lost"
    if end.state in ("created", "queued", "running"):
        return "waiting"
    if fold.salt is None:
        meant = end.state == "failed" and end.failure == "user_error" and "on purpose" in end.message
        return "right" if meant else "lost"
    if end.state == "cancelled" and fold.id in fault.cancelled:
        return "right"
    if fold.id in fault.overdue:
        return "right" if end.state == "failed" and "waited for too long" in end.message else "lost"
    if end.state != "succeeded" or given is None:
        return "lost"
    runner = int(end.runner.partition("@")[0].removeprefix("runner-"))
    parts = {"train": given["full_train_predictions"], "test": given["test_predictions"]}
    right = all(np.array_equal(_unpacked(text), fold.right(part, runner)) for part, text in parts.items())
    return "right" if right else "wrong"


def _unpacked(text: str | None) -> NDArray[np.float64]:
    return np.frombuffer(zlib.decompress(base64.b64decode(text or "")), dtype="<f8") if text else np.empty(0)


class Mailbox:
    """A client that asks again and again for new predictions, for as long as it lasts."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._given: dict[int, dict[str, Any]] = {}
        #: Folds that it was given more than once.
        self.twice: set[int] = set()
        self._failed = 0
        self._closing = Event()
        self._thread = Thread(target=self._collect)

    def __enter__(self) -> "Mailbox":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

    def fetch(self, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        """The predictions of these folds, as given; those in an answer that got lost are asked for by id."""
        self._take()
        missing = [id for id in ids if id not in self._given]
        if missing and self._failed:
            answer = post_api.get_prediction_list(*self._client, missing)
            assert answer.ok, answer.text
            self._given.update((fold["databoard_sf_id"], fold) for fold in answer.json())
        return self._given

    def _collect(self) -> None:
        while not self._closing.wait(1.0):
            self._take()

    def _take(self) -> None:
        try:
            answer = post_api.get_prediction_new(*self._client)
            answer.raise_for_status()
            folds = answer.json()
        except requests.RequestException:
            self._failed += 1
            return
        for fold in folds:
            id = fold["databoard_sf_id"]
            if id in self._given:
                self.twice.add(id)
            self._given[id] = fold
