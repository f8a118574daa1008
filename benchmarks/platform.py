"""datarun as it is deployed: RabbitMQ, PostgreSQL, web, one scheduler, a runner with two slots; driven over HTTP."""

import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import requests

from test_files import post_api
from tests.acceptance.platform import PASSWORD, USER, Platform, wait_until

from .workloads import CSV, HELD_OUT, SLOTS, SUBMISSION, TARGET, cut

_PATIENCE = 300.0  # seconds
_LOOK = 0.005  # seconds between two looks over HTTP
_RUNNER = "runner"
_BETWEEN = """
    SELECT extract(epoch FROM max(finished_at) - min(queued_at)), count(*) FILTER (WHERE state = 'succeeded')
    FROM runapp_job JOIN runapp_submissionfold ON job_id = id WHERE runapp_submissionfold.databoard_sf_id = ANY (%s)
"""
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

    def throughput(self, data: int, folds: int) -> float:
        """Seconds from the first order in the queue to the last outcome committed, by PostgreSQL's clock."""
        with self._held():
            ids = self.post(data, folds)
        return float(wait_until(lambda: self._seconds(ids), _PATIENCE, f"the end of {folds} folds"))

    def post(self, data: int, number: int) -> list[int]:
        """Posts one submission on `number` folds; returns their ids."""
        first, self._folds = self._folds + 1, self._folds + number
        self._post(first, first, raw_data=data, files=post_api._encode_files([SUBMISSION]))
        with ThreadPoolExecutor(4) as threads:
            rest = range(first + 1, first + number)
            list(threads.map(lambda fold: self._post(first, fold), rest))
        return list(range(first, first + number))

    def _post(self, submission: int, fold: int, **new: Any) -> None:
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


def _cpu(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)
