"""Where no control group may be made, the supervisor counts what a job uses: with the same verdicts."""

import re
from collections.abc import Iterator

import pytest

from datarun.runner.sandbox import cgroup
from tests.sandbox.lab import SANDBOX, Lab
from tests.sandbox.test_cases import CASES, Expected
from tests.sandbox.test_cases import test_case as check_case

pytestmark = SANDBOX

#: Those that use too much of what control groups count, or leave processes.
COUNTED = [case for case in CASES if re.search("bomb$|memory|limits|processes|_left", case)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cgroup, "make", lambda name: None)
        with Lab.open(tmp_path_factory) as lab:
            yield lab


@pytest.mark.parametrize("case", [case for case in COUNTED if not Expected.of(case).needs])
def test_it_is_judged_the_same(lab: Lab, case: str) -> None:
    check_case(lab, case)
