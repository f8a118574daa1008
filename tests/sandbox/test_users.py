"""Who folds are, and that they are kept in whoever the runner is: root, or an ordinary user.

The others are run by root, in processes of their own (`tests.sandbox.elsewhere`), on a handful of cases; all of them
for an ordinary user: ``python -m tests.sandbox.elsewhere 61000 tests/sandbox``.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from datarun.contract.messages import Limits
from datarun.runner.sandbox import users
from tests.bench import succeeded
from tests.sandbox.lab import SANDBOX, Lab
from tests.sandbox.test_folds_apart import submission

pytestmark = SANDBOX

ORDINARY = 61000
CHOSEN = (
    "fork_bomb,memory_in_children,many_large_files,removed_files,unwritable_folders,strange_files,temporary_files,"
    "reads_files,reads_its_parent,signals_others,privileges,process_pool,daemon_left,segfault"
).split(",")
TOLD = """
stat = os.stat("/proc/self")
print(json.dumps([os.getresuid(), os.getresgid(), os.getgroups(), stat.st_uid, os.stat(".").st_uid]))
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.open(tmp_path_factory) as lab:
        yield lab


def test_folds_are_nobody_where_the_runner_is_root_and_can_have_them_so(lab: Lab) -> None:
    told = {}
    for data in lab.data:
        outcome = lab.run(submission(TOLD, "import json, os"), Limits(30.0, 1 << 30), data)
        users_, groups, more, process, home = json.loads(succeeded(outcome).log)
        assert {*users_, process, home} == {users_[0]}
        told[data] = (users_[0], groups[0], more)
    if users.problem(lab.bench.scratch):
        assert {user for user, _, _ in told.values()} == {os.geteuid()}
    else:
        assert {user in users.USERS and user == group for user, group, _ in told.values()} == {True}
        assert [more for _, _, more in told.values()] == [[], []]
        assert told["toy"] != told["csv"]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes others")
@pytest.mark.parametrize("user", [0, ORDINARY])
def test_folds_are_kept_in_whoever_runs_them(user: int) -> None:
    nodes = [f"tests/sandbox/test_cases.py::test_case[{case}]" for case in CHOSEN]
    nodes += [
        "tests/sandbox/test_users.py::test_folds_are_nobody_where_the_runner_is_root_and_can_have_them_so",
        "tests/sandbox/test_folds_apart.py::test_a_fold_has_no_way_to_another_that_runs",
        "tests/sandbox/test_labels.py::test_no_label_that_is_to_be_predicted_is_found[numbers]",
    ]
    command = [sys.executable, "-m", "tests.sandbox.elsewhere", str(user), "-q", "-rs", *nodes]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
    assert "SKIPPED" not in ended.stdout
