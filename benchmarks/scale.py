"""Times of what the scheduler and the list pages do, small and at 1,000,000 folds with 100,000 waiting.

python -m tests.services run postgres rabbitmq -- python -m benchmarks.scale
"""

import logging
import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import numpy as np

from . import database

SIZES = {"small": (4_000, 2_000), "large": (1_000_000, 100_000)}
RUNNER, SLOTS = "bench", 40
#: How many jobs go through with so many others waiting behind them, and how often.
JOBS, WAITING, ROUNDS = 2000, (100, 10_000), 5


def main() -> None:
    database.set_up()
    logging.disable(logging.WARNING)
    columns = {name: measure(*size) for name, size in SIZES.items()}
    print(f"{'milliseconds':56}" + "".join(f"{name:>10}" for name in columns))
    for small, large in zip(*(column.items() for column in columns.values()), strict=True):
        print(f"{large[0]:56}{small[1] * 1000:10.1f}{large[1] * 1000:10.1f}")
    rates: dict[int, list[float]] = {waiting: [] for waiting in WAITING}
    for _ in range(ROUNDS):
        for waiting in WAITING:
            rates[waiting].append(throughput(waiting))
    few, many = (statistics.median(rates[waiting]) for waiting in WAITING)
    print(
        f"jobs a second dispatched, claimed and collected, median of {ROUNDS}: "
        f"{few:.0f} with {WAITING[0]} more waiting, {many:.0f} with {WAITING[1]}; ratio {many / few:.2f}"
    )


def measure(folds: int, waiting: int) -> dict[str, float]:
    """Seconds of each thing at this size."""
    database.fill(folds, waiting)
    return _dispatch() | _collect() | _sweep() | _pages(folds)


def _dispatch() -> dict[str, float]:
    with ExitStack() as stack:
        scheduler = Scheduler(stack)
        started = time.perf_counter()
        number = scheduler.dispatcher.run_once()
        times = {f"dispatch: a round, {number} orders": time.perf_counter() - started}
        return times | {"dispatch: a round without a free slot": best(scheduler.dispatcher.run_once)}


def _collect() -> dict[str, float]:
    from datarun.contract.messages import Claim
    from runapp.services.results import record

    ids = database.start(500)
    claims, outcomes = [Claim(str(id), 1, RUNNER) for id in ids], [_outcome(str(id)) for id in ids]
    return {
        "collect: 500 claims": best(lambda: record(claims), repeat=1),
        "collect: 500 outcomes of 12 kB": best(lambda: record(outcomes), repeat=1),
    }


def _sweep() -> dict[str, float]:
    from django.db.models.functions import Now

    from runapp.models import Job
    from runapp.scheduler import reap

    times = {"sweep: nothing is overdue": best(lambda: reap.run_once(hearing=True))}
    lost = database.start(100)
    Job.objects.filter(pk__in=lost).update(deadline=Now() - timedelta(seconds=1))
    return times | {"sweep: 100 jobs of a dead runner": best(lambda: reap.run_once(hearing=True), repeat=1)}


def _pages(folds: int) -> dict[str, float]:
    from django.contrib.auth.models import User
    from django.test import Client

    from runapp.models import RawData

    client = Client(HTTP_HOST="localhost")
    client.force_login(User.objects.create_superuser("bench"))
    data_set = RawData.objects.order_by("pk")[3].pk
    pages = {
        "list: 100 folds": "/runapp/submissionfold/?limit=100",
        "list: the last 100 folds": f"/runapp/submissionfold/?limit=100&offset={folds - 100}",
        "list: the folds of a submission": "/runapp/submissionfold/?submission=77",
        "list: 100 folds of a data set": f"/runapp/submissionfold-light/?limit=100&raw_data={data_set}",
        **{
            f"list: 100 folds in state {state}": f"/runapp/submissionfold-light/?limit=100&state={state}"
            for state in ("TODO", "TRAINED", "TESTED", "ERROR")
        },
        **{
            f"list: the same of a data set, {state}": f"/runapp/submissionfold-light/?limit=100&raw_data={data_set}"
            f"&state={state}"
            for state in ("TODO", "TESTED", "ERROR")
        },
        "a fold that was tested": "/runapp/submissionfold/1001/",
        "a fold that waits": f"/runapp/submissionfold/{folds - 5}/",
        "metrics": "/metrics",
        "admin: jobs": "/admin/runapp/job/",
        "admin: folds": "/admin/runapp/submissionfold/",
    }
    return {name: best(lambda url=url: client.get(url)) for name, url in pages.items()}  # type: ignore[misc]


def throughput(waiting: int) -> float:
    """Jobs a second through a scheduler and the broker, to a runner that answers at once, until `waiting` are left."""
    database.fill(JOBS + waiting, JOBS + waiting)
    with ExitStack() as stack:
        scheduler = Scheduler(stack)
        started = time.perf_counter()
        done = 0
        while done < JOBS:
            done += scheduler.run_once()
        return done / (time.perf_counter() - started)


class Scheduler:
    """Dispatch and collect of a scheduler, and a runner with `SLOTS` slots that takes no time."""

    def __init__(self, stack: ExitStack) -> None:
        from datarun.broker import connection as broker
        from datarun.contract import queues
        from datarun.contract.messages import Heartbeat
        from runapp.scheduler.collect import Collector, Hearing
        from runapp.scheduler.dispatch import Dispatcher
        from runapp.services.results import note

        note([Heartbeat(RUNNER, queues.ORDER_QUEUES, SLOTS, {}, {})])
        self._connection, dispatches, collects = (
            stack.enter_context(broker.connect(os.environ["BROKER_URL"])) for _ in range(3)
        )
        self._connections = (self._connection, dispatches)
        broker.declare_all(self._connection)
        channel = self._connection.default_channel
        for name in (*queues.ORDER_QUEUES, queues.RESULTS, queues.EVENTS):
            broker.queue(name)(channel).purge()
        self._orders: list[Any] = []
        broker.consumer(channel, [queues.LIGHT], self._orders.append, prefetch=0).consume()
        self.dispatcher = Dispatcher(dispatches)
        self._hearing = Hearing()
        self._collector = Collector(collects, self._hearing)
        while not self._hearing.seconds():
            self._collect()

    def run_once(self) -> int:
        """Orders are dispatched, the runner reports that it took and ended them, and that is collected."""
        from datarun.broker import connection as broker
        from datarun.contract import queues, wire
        from datarun.contract.messages import Claim
        from runapp.models import Job

        number = self.dispatcher.run_once()
        while len(self._orders) < number:
            self._connection.drain_events(timeout=10)
        orders = [wire.decode(broker.body_of(message)) for message in self._orders]
        for message in self._orders:
            message.ack()
        self._orders.clear()
        claims = [Claim(order.job, order.attempt, RUNNER) for order in orders]
        outcomes = [_outcome(order.job) for order in orders]
        broker.publish_all(
            self._connection, [(queues.RESULTS, wire.encode(said)) for said in (*claims, *outcomes)]
        )
        jobs = Job.objects.filter(pk__in=[order.job for order in orders], finished_at__isnull=True)
        while jobs.exists():
            self._collect()
        return number

    def _collect(self) -> None:
        from datarun.broker import connection as broker

        self._collector.run_once(timeout=1)
        for connection in self._connections:  # nobody else reads them meanwhile
            broker.keep_alive(connection)


def best(call: Callable[[], Any], repeat: int = 5) -> float:
    """Seconds of the quickest of `repeat` calls."""
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times)


def _outcome(job: str) -> Any:
    from datarun.contract.messages import Outcome

    rng = np.random.default_rng(0)
    return Outcome(job, 1, RUNNER, arrays={"train": rng.random(1000), "test": rng.random(500)})


if __name__ == "__main__":
    main()
