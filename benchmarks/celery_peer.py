"""Celery as one would set it up to lose nothing: a quorum queue, late acknowledgement, results in PostgreSQL."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg2
from celery import Celery

from .workloads import SLOTS, fold

_PATIENCE = 300.0  # seconds
_LOOK = 0.01  # seconds between two looks at the number of results

app = Celery("peer", broker=os.environ.get("BROKER_URL"))
app.conf.update(
    result_backend=os.environ.get("PEER_RESULTS"),
    database_create_tables_at_setup=True,
    task_default_queue=os.environ.get("PEER_QUEUE", "peer"),
    task_default_queue_type="quorum",
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    broker_transport_options={"confirm_publish": True},
)


@app.task
def task(number: int) -> Any:
    return [part.tolist() for part in fold(number)]


def timed(tasks: int, *options: str) -> float:
    """Seconds from the first order to the last result in PostgreSQL; `options` are the worker's."""
    with _database() as (url, connection), connection.cursor() as cursor:
        results = f"db+{urlsplit(url)._replace(scheme='postgresql+psycopg2').geturl()}"
        queue = f"peer-{secrets.token_hex(4)}"
        app.conf.update(result_backend=results, task_default_queue=queue)
        worker = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "celery",
                "-A",
                "benchmarks.celery_peer",
                "worker",
                "-c",
                str(SLOTS),
                *options,
            ],
            env=os.environ | {"PEER_RESULTS": results, "PEER_QUEUE": queue},
            stdout=subprocess.DEVNULL,
        )
        try:
            _run(cursor, worker, SLOTS, done=0)  # its processes are up
            started = time.perf_counter()
            _run(cursor, worker, tasks, done=SLOTS)
            return time.perf_counter() - started
        finally:
            worker.terminate()
            worker.wait(30)


def _run(cursor: Any, worker: subprocess.Popen[bytes], tasks: int, done: int) -> None:
    for number in range(tasks):
        task.delay(number)
    until = time.monotonic() + _PATIENCE
    while _results(cursor) < done + tasks:
        if worker.poll() is not None:
            raise RuntimeError("the worker of Celery has ended")
        if time.monotonic() > until:
            raise TimeoutError(f"Celery did not end within {_PATIENCE:g} s")
        time.sleep(_LOOK)


def _results(cursor: Any) -> int:
    cursor.execute("SELECT to_regclass('celery_taskmeta')")
    if cursor.fetchone() == (None,):
        return 0
    cursor.execute("SELECT count(*) FILTER (WHERE status = 'SUCCESS'), count(*) FROM celery_taskmeta")
    done, ended = cursor.fetchone()
    assert done == ended, "a task failed"
    return int(done)


@contextmanager
def _database() -> Iterator[tuple[str, Any]]:
    """A database of its own: its URL, and a connection."""
    server, name = os.environ["DATABASE_URL"], f"peer_{secrets.token_hex(4)}"
    administrator = psycopg2.connect(server)
    administrator.autocommit = True
    with administrator.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        url = urlsplit(server)._replace(path=f"/{name}").geturl()
        connection = psycopg2.connect(url)
        connection.autocommit = True
        try:
            yield url, connection
        finally:
            connection.close()
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
            administrator.close()
