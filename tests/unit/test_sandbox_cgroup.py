"""Control groups of version 2, whose files are made here, and which of them belong to runners that are gone."""

import errno
import os
import re
from pathlib import Path

import pytest

from datarun.runner.sandbox import cgroup
from datarun.runner.sandbox.cgroup import Cgroups, make

GROUP = (
    "cgroup.procs",
    "memory.max",
    "memory.swap.max",
    "memory.oom.group",
    "pids.max",
    "memory.events",
    "pids.events",
)


class Tree:
    """The folder of the runner's own group, as delegated by systemd."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, content in {
            "cgroup.controllers": "cpu memory pids\n",
            "cgroup.type": "domain\n",
            "cgroup.subtree_control": "",
            "cgroup.procs": "11\n12\n",
        }.items():
            (folder / name).write_text(content)

    def make(self, name: str) -> Path:
        """A group's folder with the files that the kernel puts into it."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        for file in GROUP:
            (folder / file).touch()
        return folder


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    tree = Tree(tmp_path)
    monkeypatch.setattr(cgroup, "_own", lambda controller: None if controller else tmp_path)
    return tree


def test_a_group_is_made_below_the_runners_own_once_that_has_no_processes(tree: Tree) -> None:
    tree.make("datarun-supervisor")
    group = make("job")
    assert group is not None
    assert (group.version, group.memory, group.pids) == (2, tree.folder / "job", tree.folder / "job")
    assert (tree.folder / "datarun-supervisor" / "cgroup.procs").read_text() == "12"  # one after the other
    assert (tree.folder / "cgroup.subtree_control").read_text() == "+memory +pids"


def test_nothing_is_moved_where_controllers_are_passed_on_already(tree: Tree) -> None:
    (tree.folder / "cgroup.subtree_control").write_text("memory pids\n")
    assert make("job") is not None
    assert not (tree.folder / "datarun-supervisor").exists()


def test_processes_of_the_whole_machine_stay_in_its_root(tree: Tree) -> None:
    (tree.folder / "cgroup.type").unlink()
    assert make("job") is not None
    assert not (tree.folder / "datarun-supervisor").exists()
    assert (tree.folder / "cgroup.subtree_control").read_text() == "+memory +pids"


def test_where_version_2_fails_version_1_may_do(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    other = cgroup.Cgroup(tree.folder, tree.folder, 1)

    def busy(name: str) -> cgroup.Cgroup | None:
        raise OSError(errno.EBUSY, name)

    monkeypatch.setattr(cgroup, "_version_2", busy)
    monkeypatch.setattr(cgroup, "_version_1", lambda name: other)
    assert make("job") is other


def test_a_group_that_something_is_left_in_gets_no_other_job(tree: Tree) -> None:
    folder = tree.make("job")
    group = cgroup.Cgroup(folder, folder, 2)
    assert group.is_empty()
    (folder / "cgroup.procs").write_text("13\n")
    assert not group.is_empty()


@pytest.mark.parametrize("controllers", ["", "memory\n", "cpu pids\n"])
def test_without_both_controllers_there_is_none(tree: Tree, controllers: str) -> None:
    (tree.folder / "cgroup.controllers").write_text(controllers)
    assert make("job") is None


def test_where_it_is_not_allowed_there_is_none(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree.folder / "cgroup.subtree_control").write_text("memory pids\n")

    def refuse(self: Path, **_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert make("job") is None


def test_limits_count_memory_without_swap_and_processes(tree: Tree) -> None:
    folder = tree.make("job")
    group = cgroup.Cgroup(folder, folder, 2)
    group.limit(1 << 20, 7)
    assert (folder / "memory.max").read_text() == str(1 << 20)
    assert (folder / "memory.swap.max").read_text() == "0"
    assert (folder / "memory.oom.group").read_text() == "1"
    assert (folder / "pids.max").read_text() == "7"


def test_without_swap_accounting_the_other_limits_hold(tree: Tree) -> None:
    folder = tree.make("job")
    (folder / "memory.swap.max").unlink()
    cgroup.Cgroup(folder, folder, 2).limit(1 << 20, 7)
    assert (folder / "memory.max").read_text() == str(1 << 20)


def test_it_says_what_the_kernel_did_in_it(tree: Tree) -> None:
    folder = tree.make("job")
    group = cgroup.Cgroup(folder, folder, 2)
    assert (group.memory_kills(), group.refused_processes()) == (0, 0)
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 31\noom 2\noom_kill 3\noom_group_kill 1\n")
    (folder / "pids.events").write_text("max 5\n")
    assert (group.memory_kills(), group.refused_processes()) == (3, 5)


def test_killing_it_is_one_write_where_the_kernel_can(tree: Tree) -> None:
    folder = tree.make("job")
    (folder / "cgroup.kill").touch()
    cgroup.Cgroup(folder, folder, 2).kill()
    assert (folder / "cgroup.kill").read_text() == "1"


def test_jobs_share_groups_one_after_the_other_and_never_at_a_time(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree.folder / "cgroup.subtree_control").write_text("memory pids\n")
    made = cgroup._version_2

    def with_files(name: str) -> cgroup.Cgroup | None:
        tree.make(name)
        return made(name)

    monkeypatch.setattr(cgroup, "_version_2", with_files)
    groups = Cgroups("r1")
    with groups.one() as first, groups.one() as second:
        assert first is not None
        assert second is not None
        assert first.memory != second.memory
        first.limit(1 << 20, 7)
        second.limit(1 << 20, 7)
    with groups.one() as third:
        assert third in (first, second)
        assert third is not None
        third.limit(1 << 21, 7)
        assert (third.memory / "memory.max").read_text() == str(1 << 21)


def test_what_a_runner_that_is_gone_has_left_is_removed_and_nothing_else(tree: Tree) -> None:
    gone, there = 1 << 22, os.getpid()  # no process has such a number (proc(5))
    names = [
        f"datarun-r1-{gone}-0a-1",
        f"datarun-r1-{there}-0b-1",
        f"datarun-r1-more-{gone}-0a-1",
        "datarun",
        "other",
    ]
    for name in names:
        (tree.folder / name).mkdir()
    Cgroups("r1")
    assert sorted(path.name for path in tree.folder.iterdir() if path.is_dir()) == sorted(names[1:])


def test_its_own_groups_have_names_by_which_others_know_that_it_is_there() -> None:
    pattern = re.compile(rf"datarun-r\.1@host-{os.getpid()}-[0-9a-f]+")
    assert pattern.fullmatch(Cgroups("r.1@host")._name)
