"""Times of what the scheduler and the list pages do, small and at 1,000,000 folds with 100,000 waiting.

python -m tests.services run postgres -- python -m benchmarks.scale
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import database

SIZES = {"small": (2_000, 1_000), "large": (1_000_000, 100_000)}
PAGES = (
    "submissionfold-light/?limit=100",
    "submissionfold-light/?limit=100&state=TESTED",
    "submissionfold/?limit=100&offset=1000",
    "submissionfold/?submission=77",
    "submissionfold/1001/",
)


def main() -> None:
    database.set_up()
    columns = {name: measure(*size) for name, size in SIZES.items()}
    print(f"{'milliseconds':46}" + "".join(f"{name:>10}" for name in columns))
    for row in columns["small"]:
        print(f"{row:46}" + "".join(f"{column[row] * 1000:10.1f}" for column in columns.values()))
    few, many = (throughput(waiting) for waiting in (1_100, 11_000))
    print(
        f"jobs a second, dispatched and collected: {few:.0f} with few waiting, {many:.0f} with 10,000 more,"
    )
    print(f"ratio {many / few:.2f}")


def measure(folds: int, waiting: int) -> dict[str, float]:
    from runapp.scheduler import reap
    from runapp.services import fairness
    from runapp.services import waiting as reasons
    from runapp.services.results import record

    database.fill(folds, waiting)
    turns = fairness.Turns()
    times = {"whose turn: 80 jobs": best(lambda: turns.next("L", 80))}
    outcomes = _outcomes(500)
    times["collect: 500 outcomes of 12 kB"] = best(lambda: record(outcomes), repeat=1)
    times["sweep"] = best(lambda: reap.run_once(hearing=True))
    times["recent duration of a queue"] = best(lambda: reasons.mean_seconds("L"))
    client = _client()
    for page in PAGES:
        times[page] = best(lambda page=page: client.get(f"/runapp/{page}"))
    return times


def throughput(waiting: int) -> float:
    """Jobs a second through turn, queue, claim and outcome, 100 at a time, without any runner."""
    from datarun.contract.messages import Claim
    from runapp import states
    from runapp.services import fairness
    from runapp.services.results import record

    database.fill(waiting, waiting)
    turns = fairness.Turns()
    started = time.perf_counter()
    for _ in range(10):
        ids = states.queue(turns.next("L", 100))
        record([Claim(str(id), 1, "bench") for id in ids])
        record(_made_up(ids))
    return 1000 / (time.perf_counter() - started)


def best(call: Callable[[], Any], repeat: int = 5) -> float:
    """Seconds of the quickest of `repeat` calls."""
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times)


def _outcomes(number: int) -> list[Any]:
    return _made_up(database.start(number))


def _made_up(ids: Any) -> list[Any]:
    from datarun.contract.messages import Outcome

    arrays = {"train": np.zeros(1000), "test": np.zeros(500)}
    return [Outcome(str(id), 1, "bench", arrays=arrays) for id in ids]


def _client() -> Any:
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client(HTTP_HOST="localhost")
    client.force_login(User.objects.create_user("bench"))
    return client


if __name__ == "__main__":
    main()
