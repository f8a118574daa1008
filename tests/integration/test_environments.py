"""Environments: a data set that wants other versions gets them, on the runners that have them; elsewhere it waits."""

import dataclasses
import os
import shutil
import sys
import venv
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from django.db.models.functions import Now
from test_runner_process import heartbeats, running
from test_slot import Broker

from datarun.broker import connection as broker
from datarun.contract import queues, wire
from datarun.contract.messages import Outcome, PrepareOrder
from datarun.contract.states import JobState
from datarun.env import SettingsError
from datarun.runner import environments
from datarun.runner.executors.process import ProcessExecutor
from runapp.models import Job, Runner, SchedulerLease
from runapp.scheduler.dispatch import Dispatcher
from runapp.services import waiting
from runapp.services.fairness import Turns
from tests.bench import Bench, succeeded
from tests.integration.helpers import accepted, cut, organiser, refused, scored_body, split, submit
from tests.integration.jobs import live
from tests.sandbox.lab import SANDBOX

IRIS = Path(__file__).parents[2] / "test_files" / "iris" / "iris.csv"
PACKAGES = (
    *("numpy", "pandas", "sklearn", "scipy", "joblib", "cloudpickle", "dateutil", "pytz", "tzdata", "six.py"),
    *("threadpoolctl.py", "narwhals", "*.libs", "numpy-*", "pandas-*", "scikit_learn-*"),
)
SUBMISSION = """
import socket, sys
import numpy as np

try:
    import old_times
    print("old times", old_times.YEAR)
except ImportError:
    print("no old times")
for attempt in (socket.socket, lambda: open("/etc/hostname")):
    try:
        attempt()
        print("got out")
    except OSError:
        print("kept in")


class Classifier:
    def fit(self, X, y): pass
    def predict_proba(self, X): return np.full((len(X), 3), 1 / 3)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the packages of this one, and one more: datarun and what locks it down are not installed in it."""
    folder = tmp_path_factory.mktemp("environments") / "old"
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (own,) = (Path(path) for path in sys.path if (Path(path) / "numpy").is_dir())
    for pattern in PACKAGES:
        for path in own.glob(pattern):
            copy = shutil.copytree if path.is_dir() else _link
            copy(path, packages / path.name, **({"copy_function": _link} if path.is_dir() else {}))
    (packages / "old_times.py").write_text("YEAR = 1999\n")
    return folder / "bin" / "python"


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy(source, target)


@pytest.fixture
def bench(tmp_path: Path, python: Path) -> Iterator[Bench]:
    with Bench.serving(tmp_path / "bench") as bench:
        bench.executor.close()
        offered = environments.read((f"old={python}",))
        bench.executor = ProcessExecutor(bench.store, bench.scratch, threads=1, environments=offered)
        yield bench


def run(bench: Bench, environment: str) -> Outcome:
    data = bench.csv(IRIS, "species", (np.arange(120), np.arange(120, 150)))
    named = dataclasses.replace(data, environment=environment)
    order = bench.fold(
        named,
        ("classifier",),
        {"classifier.py": SUBMISSION},
        np.arange(100),
        test_is=bench.indices(np.arange(100, 120)),
        metrics=("accuracy",),
    )
    return bench.run(order)


@SANDBOX
def test_a_fold_runs_in_the_environment_that_it_wants_and_is_kept_in_there_too(bench: Bench) -> None:
    old = succeeded(run(bench, "old"))
    assert old.log.splitlines() == ["old times 1999", "kept in", "kept in"]
    assert set(old.facts["versions"]) == {"numpy", "pandas", "scikit-learn"}
    assert old.facts["python"].startswith("3.")
    own = succeeded(run(bench, ""))
    assert own.log.splitlines() == ["no old times", "kept in", "kept in"]
    assert "scipy" in own.facts["versions"]
    assert old.scores == own.scores


def test_a_runner_without_the_environment_leaves_the_job_to_others(bench: Bench) -> None:
    outcome = run(bench, "new")
    assert (outcome.failure, outcome.message) == ("environment", "This runner has no environment 'new'.")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("old", "has 'old'"),
        ("o l d=/usr/bin/python3", "has 'o l d"),
        ("old=/no/such/python", "can't be used: .*No such file"),
        ("old=/bin/true", "can't be used"),
    ],
)
def test_an_environment_that_can_not_be_used_is_told_when_the_runner_starts(entry: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        environments.read((entry,))


def test_a_runner_tells_its_environments_and_serves_their_queues_once_there_are_any(
    tmp_path: Path, bench: Bench, python: Path
) -> None:
    master = Broker(tmp_path / "broker")
    settings = {"DR_ENVIRONMENTS": f"old={python}"}
    with running(tmp_path, master, bench, **settings) as runner:
        (beat, *_) = heartbeats(master, 1)
        assert beat.queues == ("L", "celery", "L@old", "celery@old")
        assert beat.environments["old"]["numpy"] == np.__version__
        data = bench.csv(IRIS, "species", (np.arange(120), np.arange(120, 150)))
        named = dataclasses.replace(data, environment="old")
        order = bench.fold(named, ("classifier",), {"classifier.py": SUBMISSION}, np.arange(100))
        broker.declare(master.connection, "L@old")
        broker.publish(master.connection, "L@old", wire.encode(order))
        results = [wire.decode(body) for body in master.reports(queues.RESULTS, 2)]
        assert isinstance(results[1], Outcome)
        assert "old times 1999" in succeeded(results[1]).log, runner.log()
    master.connection.close()


@pytest.mark.django_db
def test_jobs_of_a_data_set_wait_in_the_queues_of_its_environment() -> None:
    SchedulerLease.objects.create(pk=1, holder="scheduler", until=Now() + timedelta(days=1))
    api = organiser()
    posted = accepted(api.send("rawdata/", scored_body(environment="old")))
    assert posted["environment"] == "old"
    preparation = Job.objects.get(pk=split(api, posted["id"]))
    assert preparation.queue == "celery@old"
    live()
    reason = waiting.explain(preparation)
    assert reason is not None
    assert reason.why == "No live runner that serves celery has environment 'old'."
    assert {"celery@old", "L@old", "H@old"} <= set(Turns().in_turn())
    cut(str(preparation.pk))
    submit(api, posted["id"])
    folds = Job.objects.filter(state=JobState.CREATED, kind="fold")
    assert set(folds.values_list("queue", flat=True)) == {"L@old"}
    assert any("has environment 'old'" in sentence for sentence in waiting.summary())


@pytest.mark.django_db
def test_orders_for_an_environment_go_to_a_queue_that_is_made_for_them(broker_url: str) -> None:
    api = organiser()
    posted = accepted(api.send("rawdata/", scored_body(environment="old")))
    preparation = split(api, posted["id"])
    live(serves=("celery", "celery@old"), environments={"old": {"numpy": "1.26.4"}})
    assert Runner.objects.get().environments == {"old": {"numpy": "1.26.4"}}
    with broker.connect(broker_url) as connection:
        broker.declare_all(connection)
        assert not broker.exists(connection, "celery@old")
        assert Dispatcher(connection).run_once() == 1
        assert broker.exists(connection, "celery@old")
        message = broker.get(connection.default_channel, "celery@old")
        assert message is not None
        order = wire.decode(broker.body_of(message))
        message.ack()
    assert isinstance(order, PrepareOrder)
    assert (order.job, order.data.environment) == (preparation, "old")


@pytest.mark.django_db
def test_a_name_that_can_not_be_one_of_an_environment_is_refused() -> None:
    refused(organiser(), "rawdata/", scored_body(environment="a b"), "environment", "'a b' is no name")
