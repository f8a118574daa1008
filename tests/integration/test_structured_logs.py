"""JSON logs: each line about a job says which job, attempt, fold and submission it is, and on which runner."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_slot import Broker, Gate, order, serving

from datarun import logs
from datarun.contract import queues
from runapp.models import PreparedData
from runapp.scheduler import reap
from runapp.services import lease, orders, results
from tests.integration.jobs import (
    RUNNER,
    claim,
    fold,
    later,
    live,
    outcome,
    prepared,
    queued,
    running,
)


class Lines:
    """What the platform logs."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(logs.formatter("json"))

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]

    def one(self, words: str) -> dict[str, Any]:
        """The line that says this."""
        (line,) = (line for line in self.all() if words in line["message"])
        return line


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Lines]:
    caplog.set_level(logging.INFO)
    gathered = Lines()
    logging.getLogger().addHandler(gathered.handler)
    yield gathered
    logging.getLogger().removeHandler(gathered.handler)


@pytest.fixture
def version() -> PreparedData:
    return prepared()


FIELDS = ("job", "attempt", "fold", "submission", "runner")


def about(line: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(line.get(name) for name in FIELDS)


# --- the master ----------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_outcome(lines: Lines, version: PreparedData) -> None:
    one = fold(version, submission=7)
    running(one)
    results.record([outcome(one)])
    assert about(lines.one("succeeded")) == (str(one.job_id), 1, one.pk, 7, RUNNER)


@pytest.mark.django_db
def test_a_runner_that_falls_silent(lines: Lines, version: PreparedData) -> None:
    one = fold(version, submission=7)
    running(one)
    later(seconds=13)
    reap.run_once(hearing=True)
    line = lines.one("has not been heard of")
    assert about(line) == (str(one.job_id), 1, one.pk, 7, RUNNER)
    assert line["level"] == "WARNING"


@pytest.mark.django_db
def test_an_order_that_vanished_has_no_runner(lines: Lines, version: PreparedData) -> None:
    one = fold(version, submission=7)
    live()
    queued(one)
    later(seconds=16)
    live()
    reap.run_once(hearing=True)
    assert about(lines.one("vanished")) == (str(one.job_id), 1, one.pk, 7, None)


@pytest.mark.django_db
def test_a_fold_that_has_waited_for_too_long(lines: Lines, version: PreparedData) -> None:
    one = fold(version, submission=7, queue="H")
    later(days=31)
    lease.hold("scheduler")
    reap.run_once(hearing=True)
    assert about(lines.one("No live runner serves queue H.")) == (str(one.job_id), 0, one.pk, 7, None)


@pytest.mark.django_db
def test_a_dropped_message(lines: Lines, version: PreparedData) -> None:
    one = fold(version)
    queued(one)
    results.record([claim(one, "runner-1"), claim(one, "runner-2")])
    line = lines.one("dropped: stale claim")
    assert (line["job"], line["attempt"], line["runner"]) == (str(one.job_id), 1, "runner-2")


@pytest.mark.django_db
def test_an_order_says_which_fold_it_is_about(version: PreparedData) -> None:
    one = fold(version, submission=7)
    queued(one)
    ((_, made),) = orders.build([one.job_id])
    assert made.about == {"fold": one.pk, "submission": 7}  # type: ignore[union-attr]


# --- a runner ------------------------------------------------------------------------------------------


def test_a_job_on_a_runner(lines: Lines, tmp_path: Path) -> None:
    """Its start, its end, and all that is logged between."""
    master, gate = Broker(tmp_path / "broker"), Gate()
    with serving(master, _Talking(gate)):
        master.send(queues.LIGHT, order("first", attempt=3))
        gate.wait_started()
        gate.open.set()
        master.results(2)
        master.send(queues.LIGHT, b"garbage")
        master.reports(queues.PARKED, 1)
    for words in ("started", "the disk is slow", "succeeded after"):
        assert about(lines.one(words)) == ("first", 3, 1, 1, "r1")
    assert "job first, attempt 3: fold 1 of submission 1 started" in lines.one("started")["message"]
    assert about(lines.one("parked")) == (None, None, None, None, "r1"), "it is about no job"


class _Talking:
    """An executor that logs, and knows nothing of what its lines are about."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def run(self, *given: Any) -> Any:
        logging.getLogger("datarun.runner").info("the disk is slow")
        return self._gate.run(*given)
