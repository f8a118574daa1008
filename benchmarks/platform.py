"""datarun as it is deployed: RabbitMQ, PostgreSQL, web, one scheduler, a runner with two slots; driven over HTTP."""

import secrets
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg2
import requests
from numpy.typing import NDArray

from test_files import post_api
from tests.acceptance.platform import PASSWORD, USER, Platform, wait_until

from . import large
from .large.folds import cut as cut_large
from .workloads import CSV, HELD_OUT, LONG_SUBMISSION, SLOTS, SUBMISSION, TARGET, cut

_PATIENCE = 300.0  # seconds
_LOOK = 0.005  # seconds between two looks over HTTP
_SAMPLE = 0.1  # seconds between two looks at the memory of a runner
_RUNNER = "runner"
#: The rows of a fold, by its number.
Cut = Callable[[int], tuple[NDArray[np.int64], NDArray[np.int64]]]
_BETWEEN = """
    SELECT extract(epoch FROM max(finished_at) - min(queued_at)), count(*) FILTER (WHERE state = 'succeeded')
    FROM runapp_job JOIN runapp_submissionfold ON job_id = id WHERE runapp_submissionfold.databoard_sf_id = ANY (%s)
"""
_LARGE = Path(large.__file__).parent
_PREPARING = "SELECT count(*) FROM runapp_job WHERE kind = 'prepare' AND state <> 'succeeded'"


@dataclass(frozen=True)
class Idle:
    """The runner's processes while nothing is to do: memory in MB, and the share of one core that they use."""

    pss: float
    rss: float
    cpu: float


class Datarun(Platform):
    """A running platform. Data sets and folds get new ids by themselves."""

    @classmethod
    @contextmanager
    def running(cls, folder: Path, database_url: str, broker_url: str) -> Iterator["Datarun"]:
        platform = cls(folder, database_url, broker_url, DEBUG="0", SECRET_KEY=secrets.token_urlsafe(50))
        platform.session = requests.Session()
        platform.session.auth = (USER, PASSWORD)
        try:
            platform.manage("migrate")
            platform.manage("createuser", USER, "bench@example.org", PASSWORD)
            platform.start_web()
            platform.start_scheduler()
            platform.start_runner(_RUNNER, slots=SLOTS)
            platform.seconds_to_ready = platform._until_ready()
            with psycopg2.connect(database_url) as connection:
                connection.autocommit = True
                platform.cursor = connection.cursor()
                yield platform
        finally:
            platform.stop_all()

    session: requests.Session
    cursor: Any
    seconds_to_ready: float
    _data = _folds = 0

    def _until_ready(self) -> float:
        """Seconds from the start of the runner's process until the master counts on it."""
        wait_until(lambda: any(runner["state"] == "live" for runner in self._runners()), 60, "a live runner")
        return time.time() - psutil.Process(self.processes[_RUNNER].pid).create_time()

    def _runners(self) -> list[dict[str, Any]]:
        found = self.get("runners/")
        return list(found["results"] if isinstance(found, dict) else found)

    def idle(self, seconds: float) -> Idle:
        runner = psutil.Process(self.processes[_RUNNER].pid)
        processes = [runner, *runner.children(recursive=True)]
        before = _cpu(processes)
        time.sleep(seconds)
        used = _cpu(processes) - before
        memory = [process.memory_full_info() for process in processes]
        return Idle(sum(m.pss for m in memory) / 1e6, sum(m.rss for m in memory) / 1e6, used / seconds)

    def new_data(self) -> int:
        """Posts a data set, split as none before, and waits until it is prepared; returns its id."""
        self._data += 1
        account = (self.url, USER, PASSWORD)
        answer = post_api.post_data(*account, f"iris {self._data}", TARGET, "classifier", CSV)
        answer.raise_for_status()
        data = int(answer.json()["id"])
        post_api.post_split(*account, HELD_OUT, data, random_state=self._data).raise_for_status()
        wait_until(lambda: self._row(_PREPARING) == (0,), _PATIENCE, "a prepared data set")
        return data

    def new_large_data(self) -> int:
        """The same for the data set of 1 GB."""
        self._data += 1
        account, files = (self.url, USER, PASSWORD), (CSV, [_LARGE / "data.py"])
        answer = post_api.post_data(*account, f"large {self._data}", TARGET, "classifier", *files)
        answer.raise_for_status()
        data = int(answer.json()["id"])
        post_api.custom_post_split(*account, data).raise_for_status()
        wait_until(lambda: self._row(_PREPARING) == (0,), _PATIENCE, "a prepared data set")
        return data

    def latency(self, data: int) -> float:
        """Seconds from the answer to the POST of one fold until its predictions are read."""
        (fold,) = self.post(data, 1)
        started = time.perf_counter()
        while time.perf_counter() < started + _PATIENCE:
            answer = self.session.get(f"{self.url}runapp/submissionfold/{fold}/").json()
            assert answer["state"] != "ERROR", answer["log_messages"]
            if answer["test_predictions"]:
                return time.perf_counter() - started
            time.sleep(_LOOK)
        raise TimeoutError(f"fold {fold} did not end within {_PATIENCE:g} s")

    def throughput(self, data: int, folds: int, submission: Path = SUBMISSION, cut: Cut = cut) -> float:
        """Seconds from the first order in the queue to the last outcome committed, by PostgreSQL's clock."""
        with self._held():
            ids = self.post(data, folds, submission, cut)
        # PostgreSQL's clock tells how long it took: to ask often would only take time from what is measured.
        return float(
            wait_until(lambda: self._seconds(ids), _PATIENCE, f"the end of {folds} folds", pause=0.5)
        )

    def long_throughput(self, data: int, folds: int) -> float:
        """The same for folds of eight seconds."""
        return self.throughput(data, folds, LONG_SUBMISSION)

    def large_peak(self, data: int, folds: int) -> float:
        """MB of memory that the runner's processes have at a time, at most, while they run such folds; without those
        that hold other data sets."""
        peak, done = 0.0, threading.Event()
        runner = psutil.Process(self.processes[_RUNNER].pid)
        others = set(runner.children())
        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(self.throughput, data, folds, _LARGE / "classifier.py", cut_large)
            running.add_done_callback(lambda _: done.set())
            while not done.wait(_SAMPLE):
                peak = max(peak, _memory(runner, others) / 1e6)
            running.result()
        return peak

    def post(self, data: int, number: int, submission: Path = SUBMISSION, cut: Cut = cut) -> list[int]:
        """Posts one submission on `number` folds; returns their ids."""
        first, self._folds = self._folds + 1, self._folds + number
        self._post(first, first, cut, raw_data=data, files=post_api._encode_files([submission]))
        with ThreadPoolExecutor(4) as threads:
            rest = range(first + 1, first + number)
            list(threads.map(lambda fold: self._post(first, fold, cut), rest))
        return list(range(first, first + number))

    def _post(self, submission: int, fold: int, cut: Cut, **new: Any) -> None:
        train_is, test_is = cut(fold)
        body = {
            "databoard_s_id": submission,
            "databoard_sf_id": fold,
            "priority": "L",
            "train_is": post_api._encode_indices("train_is", train_is),
            "test_is": post_api._encode_indices("test_is", test_is),
        }
        answer = self.session.post(f"{self.url}runapp/submissionfold/", json=body | new)
        assert answer.ok, answer.text

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Nothing is dispatched meanwhile."""
        scheduler = self.processes["scheduler"]
        scheduler.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            scheduler.send_signal(signal.SIGCONT)

    def _seconds(self, folds: Sequence[int]) -> float | None:
        seconds, done = self._row(_BETWEEN, list(folds))
        return seconds if done == len(folds) else None

    def _row(self, statement: str, *values: Any) -> tuple[Any, ...]:
        self.cursor.execute(statement, values or None)
        row: tuple[Any, ...] = self.cursor.fetchone()
        return row


def _memory(runner: psutil.Process, others: Collection[psutil.Process]) -> float:
    """Bytes that a runner's processes have in memory: all of its own and of the processes that hold the data, but for
    `others`, and of their children what is not shared. Shares (PSS) can't be summed while processes come and go."""
    used = float(runner.memory_info().rss)
    for zygote in set(runner.children()).difference(others):
        with suppress(psutil.Error):
            used += zygote.memory_info().rss
            for child in zygote.children():
                with suppress(psutil.Error):
                    used += child.memory_full_info().uss
    return used


def _cpu(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)
