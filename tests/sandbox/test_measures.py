"""What a fold has used is what its supervisor has seen, whatever the fold says."""

from collections.abc import Iterator

import pytest

from datarun.contract.messages import Limits
from tests.bench import succeeded
from tests.sandbox.lab import SANDBOX, Lab

pytestmark = SANDBOX


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.open(tmp_path_factory) as lab:
        yield lab


def test_lies_about_time_and_memory_are_not_believed(lab: Lab) -> None:
    outcome = succeeded(lab.run(lab.submission("lies_about_its_time"), Limits(120.0, 1 << 30)))
    measures = outcome.measures
    assert measures["train_time"] >= measures["train_cpu_time"] >= 0.8
    assert measures["train_memory"] > 128
    assert measures["test_time"] < 1.0

