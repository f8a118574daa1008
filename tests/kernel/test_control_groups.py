"""Control groups of version 2, on a kernel that has them: for root, and for a user to whom one was delegated."""

import json
import platform
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from .machine import Machine

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="QEMU is asked for this machine's own kind"
)

_CHECKOUT = Path(__file__).parents[2]
_TIMEOUT = 1500.0
_USER = 1000
#: As systemd's Delegate= does it. Folders on the way to Python may be closed to others.
_SCRIPT = """
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={checkout}
cd {checkout}
for folder in {folders}; do chmod a+x "$folder"; done
echo '+memory +pids' > /sys/fs/cgroup/cgroup.subtree_control
for user in 0 {user}; do
    group=/sys/fs/cgroup/of-$user
    mkdir $group
    chown $user $group $group/cgroup.procs $group/cgroup.subtree_control
    sh -c 'echo $$ > $0/cgroup.procs; exec setpriv --reuid $1 --clear-groups "$2" -m tests.kernel.inside' \
        $group $user {python} 2>&1
done
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What a root's and an ordinary user's runner said."""
    python = Path(sys.executable)
    places = {python, python.resolve(), _CHECKOUT}
    folders = sorted({str(folder) for place in places for folder in place.parents})
    script = _SCRIPT.format(
        checkout=shlex.quote(str(_CHECKOUT)), python=shlex.quote(str(python)), user=_USER,
        folders=shlex.join(folders),
    )  # fmt: skip
    printed = Machine(tmp_path_factory.mktemp("machine")).run(script, _TIMEOUT)
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert len(lines) == 2, printed
    return dict(zip(("root", "user"), lines, strict=True))


users = pytest.mark.parametrize("user", ["root", "user"])


@users
def test_a_control_group_is_in_force(said: dict[str, dict[str, Any]], user: str) -> None:
    in_force, text = said[user]["protections"]["control group"]
    assert in_force, text
    assert text.startswith("Version 2:")


@users
def test_a_fold_runs(said: dict[str, dict[str, Any]], user: str) -> None:
    assert said[user]["innocent"] == [None, ""]


@users
def test_the_memory_of_all_processes_of_a_fold_counts(said: dict[str, dict[str, Any]], user: str) -> None:
    failure, message = said[user]["memory of its children"]
    assert failure == "memory", message
    assert "384 MiB" in message


@users
def test_the_processes_of_a_fold_are_counted(said: dict[str, dict[str, Any]], user: str) -> None:
    failure, message = said[user]["many processes"]
    assert failure == "user_error", message
    refused = re.search(r"(?:refused after|Stopped with) (\d+) ", message)  # whoever looks first
    assert refused, message
    assert said[user]["most"] * 0.9 < int(refused[1]) <= said[user]["most"]


def test_folds_of_roots_runner_have_a_user_of_their_own(said: dict[str, dict[str, Any]]) -> None:
    in_force, text = said["root"]["protections"]["user"]
    assert in_force, text
