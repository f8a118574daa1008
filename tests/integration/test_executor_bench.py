"""The bench that tests run jobs on: a job succeeds on it, and what a job leaves does not escape it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.bench import Bench, classifier, leftovers, succeeded


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench.serving(tmp_path) as bench:
        yield bench


def test_a_toy_fold_succeeds(bench: Bench) -> None:
    outcome = succeeded(bench.toy(classifier()))
    assert outcome.arrays["train"].tobytes() == np.full((8, 2), 0.5).tobytes()
    assert outcome.arrays["test"].tobytes() == np.full((4, 2), 0.5).tobytes()


@pytest.mark.parametrize("how", ["argument", "environment", "folder"])
def test_a_process_that_is_left_would_be_found(tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    process = subprocess.Popen(
        [*command, *([str(tmp_path / "job")] if how == "argument" else [])],
        env={"HOME": f"{tmp_path}/job/home"} if how == "environment" else None,
        cwd=tmp_path if how == "folder" else "/",
    )
    try:
        assert [left.split(":")[0] for left in leftovers(tmp_path)] == [str(process.pid)]
    finally:
        process.kill()
        process.wait()
    assert leftovers(tmp_path) == []
