"""Hostile and unlucky submissions: each ends as its `expected.toml` says, and nothing of it is left.

A case is a folder with the files of a submission, to which those of `common/` are added. In its files `@NAME@`
stands for something of the surroundings (`Lab.surroundings`). `expected.toml` may hold

failure       regular expression of the failure's kind; "success" unless it says otherwise
message, log  regular expressions that are found in them; a case that succeeds prints nothing unless it says so
stage         how far it comes
predictions   "any" if they need not be those of `common/right.py`
wall, memory, disk  its limits, in seconds and MiB
data          "toy", a custom module, unless it is "csv"
outside       what a case that tries to break out achieves where there is no sandbox: a case that can fail
needs         what it is skipped without
"""

import os
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from datarun.contract.messages import Limits
from datarun.runner.sandbox import cgroup
from tests.bench import MIB, Stages
from tests.sandbox.lab import FOLDER, SANDBOX, Lab

CASES = sorted(path.parent.name for path in FOLDER.glob("*/expected.toml"))

pytestmark = SANDBOX


@dataclass(frozen=True)
class Expected:
    """What `expected.toml` says."""

    failure: str = "success"
    message: str = ""
    log: str | None = None
    stage: str | None = None
    predictions: str = "right"
    wall: float = 20.0
    memory: int = 1024
    disk: int = 1024
    data: str = "toy"
    outside: tuple[str, ...] = ()
    needs: str = ""

    @classmethod
    def of(cls, case: str) -> "Expected":
        return cls(**tomllib.loads((FOLDER / case / "expected.toml").read_text()))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.open(tmp_path_factory) as lab:
        yield lab


def test_there_are_cases_of_every_kind() -> None:
    kinds = {kind for case in CASES for kind in Expected.of(case).failure.split("|")}
    assert kinds >= {"success", "user_error", "bad_output", "timeout", "memory", "disk", "killed"}


@pytest.mark.parametrize("case", CASES)
def test_case(lab: Lab, case: str) -> None:
    expected = Expected.of(case)
    _skip_without(expected.needs)
    before, stages = lab.state(), Stages()
    assert before["marked"] == before["damaged"] == before["writable"] == []
    limits = Limits(expected.wall, expected.memory * MIB, disk=expected.disk * MIB)
    outcome = lab.run(lab.submission(FOLDER / case), limits, expected.data, stages)

    assert re.fullmatch(expected.failure, outcome.failure or "success"), outcome
    assert re.search(expected.message, outcome.message, re.DOTALL), outcome.message
    if expected.log is not None:
        assert re.search(expected.log, outcome.log, re.DOTALL), outcome.log
    elif outcome.failure is None:
        assert outcome.log == ""
    if expected.stage is not None:
        assert (outcome.stage, stages.reached[-1:]) == (expected.stage, [expected.stage])
    if outcome.failure is None and expected.predictions == "right":
        lab.check_predictions(outcome, expected.data)
    for text in (outcome.message, outcome.log):
        assert len(text) <= 66 * 1024
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text)
        assert str(lab.bench.scratch) not in text
    assert outcome.failure is None or not outcome.arrays

    lab.innocent(expected.data)
    assert lab.state() == before


@pytest.mark.parametrize("case", [case for case in CASES if Expected.of(case).outside])
def test_where_there_is_no_sandbox_it_would_have_broken_out(lab: Lab, tmp_path: Path, case: str) -> None:
    package = tmp_path / "submission"
    (tmp_path / "home").mkdir()
    package.mkdir()
    (package / "__init__.py").touch()
    for name, text in lab.submission(FOLDER / case).items():
        (package / name).write_text(text)
    command = "from submission.classifier import Classifier; Classifier().fit(range(8), [0, 1] * 4)"
    ended = subprocess.run(
        [sys.executable, "-c", command],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path / "home",
        capture_output=True,
        text=True,
        timeout=30,
    )
    _, _, told = ended.stderr.rpartition("AssertionError: not refused: ")
    wanted = set(Expected.of(case).outside)
    for name, value in lab.surroundings().items():
        wanted = {text.replace(f"@{name}@", value) for text in wanted}
    assert wanted <= set(told.strip().split(", ")), ended.stderr


def _skip_without(what: str) -> None:
    if what == "control group":
        group = cgroup.make(f"datarun-test-{os.getpid()}")
        if group is None:
            pytest.skip("no control group may be made here")
        group.remove()
    elif what and platform.machine() != what:
        pytest.skip(f"it is written for {what}")
