"""RAMP kits run as they are: every number is the one that ramp-workflow itself writes for the same submission.

`tests/kits` has kits for every workflow and type of predictions of ramp-workflow 0.7, and what to compare with.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarun.contract import predictions
from datarun.contract.messages import Data, EnsembleOrder, FoldRows, Outcome, Predicted, PrepareOrder
from tests.bench import ROOM, Bench, succeeded
from tests.kits.reference import LABELS, NOT_BLENDED
from tests.sandbox.lab import SANDBOX

pytestmark = SANDBOX

KITS = Path(__file__).parents[1] / "kits"
NAMES = sorted(path.parent.name for path in KITS.glob("*/problem.py"))
#: One of each type of predictions, and a workflow of the kit's own; the others with ``bin/test --slow``.
QUICK = {"classifier", "clusterer", "drug_spectra", "object_detector", "own_workflow", "regressor"}
Values = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench.serving(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


@pytest.fixture(scope="module")
def reference(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], dict[str, Any]]]:
    """What ramp-workflow makes of the kits that are tested; it runs beside the first of the tests."""
    folder = tmp_path_factory.mktemp("reference")
    for name in sorted({item.callspec.params["name"] for item in request.session.items if _compares(item)}):
        shutil.copytree(KITS / name, folder / name)
    command = [sys.executable, "-m", "tests.kits.reference", str(folder)]
    environment = (
        os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1") | {"TERM": "dumb"}
    )
    with (folder / "log").open("w") as log, (folder / "made").open("w") as made:
        process = subprocess.Popen(command, stdout=made, stderr=log, env=environment, cwd=KITS.parents[1])

    @cache
    def wait() -> dict[str, Any]:
        assert process.wait(timeout=120) == 0, (folder / "log").read_text()[-3000:]
        return json.loads((folder / "made").read_text())

    yield wait
    process.kill()
    process.wait()


def _compares(item: Any) -> bool:
    return item.function is test_a_kit_gives_what_ramp_test_prints


class Posted:
    """A kit as a runner gets it: prepared, with its folds."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.bench, self.folder = bench, KITS / name
        files = {
            path.relative_to(self.folder).as_posix(): path
            for path in self.folder.rglob("*")
            if path.is_file() and "submissions" not in path.parts and "__pycache__" not in path.parts
        }
        data = Data(bench.files(files), "", module="problem.py", kit=True, data_label=LABELS.get(name))
        self.prepared = succeeded(bench.outcome(PrepareOrder("job", 1, data, ROOM)))
        counts = dict(self.prepared.counts)
        blobs = dict(self.prepared.blobs)
        self.folds = [
            FoldRows(blobs.pop(f"cv/{fold}/train_is"), blobs.pop(f"cv/{fold}/test_is"))
            for fold in range(counts.pop("n_folds"))
        ]
        self.data = dataclasses.replace(data, files={**data.files, **blobs}, **counts)
        self.metrics = tuple(metric["name"] for metric in self.prepared.facts["metrics"])

    def submission(self, name: str) -> dict[str, str | bytes | Path]:
        folder = self.folder / "submissions" / name
        return {
            path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    def run(self, submission: str, fold: int, metrics: tuple[str, ...] | None = None) -> Outcome:
        return self.run_files(self.submission(submission), fold, metrics)

    def run_files(
        self, files: dict[str, str | bytes | Path], fold: int = 0, metrics: tuple[str, ...] | None = None
    ) -> Outcome:
        rows = self.folds[fold]
        order = self.bench.fold(
            self.data,
            tuple(self.prepared.facts["elements"]),
            files,
            np.frombuffer(self.bench.blobs.contents[rows.train_is], dtype="<i8"),
            test_is=rows.test_is,
            metrics=self.metrics if metrics is None else metrics,
        )
        return self.bench.outcome(order)

    def combine(
        self, predicted: list[Predicted], blend: bool = False, metrics: tuple[str, ...] = ()
    ) -> Outcome:
        order = EnsembleOrder(
            *("job", 1, self.data, ROOM, metrics or self.metrics, tuple(self.folds), tuple(predicted), blend)
        )
        return self.bench.outcome(order)


def predicted(bench: Bench, outcome: Outcome, submission: int, fold: int) -> Predicted:
    """As the master stores it."""
    blobs = {part: bench.blobs.add(predictions.dumps(array)) for part, array in outcome.arrays.items()}
    return Predicted(submission, fold, **{**blobs, **outcome.array_blobs})


def same(one: Any, other: Any) -> bool:
    """Bit by bit, but that any NaN is like any other."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (one != one and other != other)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_a_kit_gives_what_ramp_test_prints(
    bench: Bench, reference: Callable[[], dict[str, Any]], name: str
) -> None:
    kit = Posted(bench, name)
    expected = reference()[name]
    everything = []
    for number, submission in enumerate(expected["good"]):
        wanted = expected["submissions"][submission]
        outcomes = [succeeded(kit.run(submission, fold)) for fold in range(len(kit.folds))]
        assert len(outcomes) == len(wanted["folds"])
        for outcome, scores in zip(outcomes, wanted["folds"], strict=True):
            assert same(outcome.scores, scores), submission
        made = [predicted(bench, outcome, number, fold) for fold, outcome in enumerate(outcomes)]
        facts = succeeded(kit.combine(made)).facts
        assert same(facts["bagged"], wanted["bagged"]), submission
        assert same([facts["scores"][str(fold)] for fold in range(len(made))], wanted["folds"]), submission
        everything += made
    if len(expected["good"]) > 1 and name not in NOT_BLENDED:
        check_blend(succeeded(kit.combine(everything, blend=True)).facts, expected)


def check_blend(facts: dict[str, Any], expected: dict[str, Any]) -> None:
    official = next(iter(expected["blend"]["bagged"]["valid"]))
    bagged = {part: {official: values[official]} for part, values in facts["bagged"].items()}
    assert same(bagged, expected["blend"]["bagged"])
    shares = {
        name: sum(expected["blend"]["contributivity"][name]) for number, name in enumerate(expected["good"])
    }
    assert same(dict(zip(expected["good"], facts["contributivity"].values(), strict=True)), shares)
