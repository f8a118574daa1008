"""Two schedulers: one works, and the other takes over when that one stops, hangs or dies."""

import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from .platform import Platform, wait_until

SCHEDULERS = ("one", "other")


class Lease:
    """The schedulers' lease as the database has it."""

    def __init__(self, cursor: Any, platform: Platform) -> None:
        self._cursor, self._platform = cursor, platform

    def holder(self) -> str:
        """The scheduler that works now, or ""."""
        self._cursor.execute("SELECT holder FROM runapp_schedulerlease WHERE until > now()")
        row = self._cursor.fetchone()
        pids = {str(process.pid): name for name, process in self._platform.processes.items()}
        return pids.get(row[0].split(":")[1], "") if row else ""

    def ends(self) -> None:
        """As if its holder had not renewed it for long."""
        self._cursor.execute("UPDATE runapp_schedulerlease SET until = now() - interval '1 second'")

    def wait(self, condition: Callable[[str], bool], what: str) -> str:
        def reached() -> str:
            return name if condition(name := self.holder()) else ""

        name: str = wait_until(reached, 30, what)
        return name


@pytest.fixture
def lease(platform: Platform, database_url: str) -> Iterator[Lease]:
    """Two schedulers run."""
    platform.manage("migrate")
    for name in SCHEDULERS:
        platform.start_scheduler(name)
    with closing(psycopg2.connect(database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield Lease(cursor, platform)


def _works(platform: Platform, name: str) -> int:
    """How many times it said in its log that it works now."""
    return (platform.folder / f"{name}.log").read_text().count("this scheduler works now")


def test_one_works_and_the_other_takes_over(platform: Platform, lease: Lease) -> None:
    first = lease.wait(bool, "a scheduler that works")
    (second,) = set(SCHEDULERS) - {first}
    wait_until(lambda: "scheduler ready" in (platform.folder / f"{second}.log").read_text(), 30, "the other")

    platform.processes[first].send_signal(signal.SIGSTOP)
    lease.ends()
    lease.wait(lambda name: name == second, "the other at work, while the first hangs")

    platform.processes[first].send_signal(signal.SIGCONT)
    wait_until(lambda: _works(platform, second) == 1, 30, "a word of it in the log")
    platform.stop(second)
    assert lease.wait(bool, "the first at work again, as soon as the other has stopped") == first

    platform.start_scheduler(second)
    platform.stop(first, signal.SIGKILL)
    lease.ends()
    lease.wait(lambda name: name == second, "the other at work, after the first was killed")
