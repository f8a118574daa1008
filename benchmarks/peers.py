"""What datarun is compared with: ``python -m benchmarks.peers NAME TASKS`` prints the seconds that it took.

Each is as warm as it can be when the clock starts: its processes run, and have imported and loaded everything.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from . import forks
from .workloads import SLOTS, fold, long_fold


def by_forks(tasks: int) -> float:
    with forks.warm() as run:
        run(range(SLOTS))
        return _timed(run, tasks)


def by_pool(tasks: int) -> float:
    with ProcessPoolExecutor(SLOTS) as pool:
        list(pool.map(fold, range(SLOTS)))
        return _timed(lambda numbers: list(pool.map(fold, numbers)), tasks)


def long_by_pool(tasks: int) -> float:
    with ProcessPoolExecutor(SLOTS) as pool:
        list(pool.map(fold, range(SLOTS)))
        return _timed(lambda numbers: list(pool.map(long_fold, numbers)), tasks)


def by_new_pythons(tasks: int) -> float:
    def run(number: int) -> bytes:
        code = f"from benchmarks.workloads import fold; print(*fold({number}))"
        return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout

    with ThreadPoolExecutor(SLOTS) as threads:
        return _timed(lambda numbers: list(threads.map(run, numbers)), tasks)


def by_celery(tasks: int) -> float:
    from .celery_peer import timed

    return timed(tasks)


def by_celery_process_a_task(tasks: int) -> float:
    from .celery_peer import timed

    return timed(tasks, "--max-tasks-per-child", "1")


def by_dask(tasks: int) -> float:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=SLOTS, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.gather(client.map(fold, range(SLOTS), pure=False))
        return _timed(lambda numbers: client.gather(client.map(fold, numbers, pure=False)), tasks)


def by_ray(tasks: int) -> float:
    import ray

    ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False)
    try:
        remote = ray.remote(fold)
        ray.get([remote.remote(number) for number in range(SLOTS * 2)])
        return _timed(lambda numbers: ray.get([remote.remote(number) for number in numbers]), tasks)
    finally:
        ray.shutdown()


PEERS: dict[str, Callable[[int], float]] = {
    "bare loop of warm forks": by_forks,
    "ProcessPoolExecutor": by_pool,
    "ProcessPoolExecutor, long folds": long_by_pool,
    "Celery": by_celery,
    "Celery, a process a task": by_celery_process_a_task,
    "dask.distributed": by_dask,
    "ray": by_ray,
    "a new Python a task": by_new_pythons,
}


def _timed(run: Callable[[Sequence[int]], Sequence[Any]], tasks: int) -> float:
    started = time.perf_counter()
    results = run(range(tasks))
    seconds = time.perf_counter() - started
    assert len(results) == tasks
    return seconds


if __name__ == "__main__":
    print(PEERS[sys.argv[1]](int(sys.argv[2])))
