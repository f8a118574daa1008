"""Where the embedded platform keeps its state, and who may use that folder."""

import json
import os
import pwd
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from datarun.embedded import folder
from datarun.embedded.folder import FolderError, choose, prepare, private


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder outside of every home that any user may enter (pytest's own are closed to other users)."""
    with tempfile.TemporaryDirectory(prefix="datarun-test-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name).resolve()


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def as_normal_user(place: Path) -> Iterator[None]:
    """What the test does is done by a user whom permissions hold back, who owns `place`."""
    if os.geteuid() != 0:
        yield
        return
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(place, nobody, -1)
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refusal(path: Path) -> str:
    """The one sentence with which the folder is refused."""
    with pytest.raises(FolderError) as caught, prepare(path):
        pass
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


class TestChoose:
    def test_a_normal_user_has_it_in_the_checkout(self, place: Path, as_normal_user: None) -> None:
        assert choose(place, {}) == place / "var"

    def test_root_has_it_in_the_checkout_outside_of_homes(self, place: Path, as_root: None) -> None:
        assert choose(place, {}) == place / "var"

    def test_the_environment_decides(self, place: Path) -> None:
        assert choose(place, {"DATARUN_HOME": str(place / "elsewhere")}) == place / "elsewhere"

    def test_an_empty_variable_is_none(self, place: Path) -> None:
        assert choose(place, {"DATARUN_HOME": ""}) == place / "var"

    def test_it_is_absolute(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(place)
        assert choose(Path(), {}) == place / "var"
        assert choose(Path(), {"DATARUN_HOME": "state"}) == place / "state"

    @pytest.mark.parametrize("home", ["/root", "/home/somebody"])
    def test_root_never_has_it_in_a_home(self, home: str, as_root: None) -> None:
        chosen = choose(Path(home, "datarun"), {})
        assert chosen.parent == Path("/var/lib/datarun")
        assert chosen.name.startswith("datarun-")

    def test_root_never_has_it_in_the_home_of_a_login_user(
        self, place: Path, as_root: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entry = pwd.getpwuid(os.getuid())
        login = pwd.struct_passwd((*entry[:5], str(place), "/bin/sh"))
        service = pwd.struct_passwd((*entry[:5], "/", "/usr/sbin/nologin"))
        monkeypatch.setattr(pwd, "getpwall", lambda: [login, service])
        assert choose(place / "datarun", {}).parent == Path("/var/lib/datarun")
        monkeypatch.setattr(pwd, "getpwall", lambda: [service])
        assert choose(place / "datarun", {}) == place / "datarun" / "var"

    def test_root_never_has_it_behind_a_closed_folder(self, place: Path, as_root: None) -> None:
        (place / "closed").mkdir(mode=0o700)
        assert choose(place / "closed" / "datarun", {}).parent == Path("/var/lib/datarun")
        assert mode(place / "closed") == 0o700

    def test_two_checkouts_of_one_name_have_two_folders(self, as_root: None) -> None:
        one, other = choose(Path("/root/a/datarun"), {}), choose(Path("/root/b/datarun"), {})
        assert one != other
        assert one == choose(Path("/root/a/datarun"), {})

    def test_root_can_not_insist_on_a_home(self, as_root: None) -> None:
        with pytest.raises(FolderError, match=r"DATARUN_HOME=/root/state .* choose another"):
            choose(Path("/srv/datarun"), {"DATARUN_HOME": "/root/state"})


class TestPrepare:
    def test_a_normal_user_has_it_alone(self, place: Path, as_normal_user: None) -> None:
        with prepare(place / "new" / "state") as state:
            assert state == place / "new" / "state"
            assert mode(state) == mode(state.parent) == 0o700

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whose folder others pass through")
    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
    def test_others_pass_through_the_one_of_root(self, place: Path, umask: int) -> None:
        before = os.umask(umask)
        try:
            with prepare(place / "new" / "state") as state:
                assert mode(state) == mode(state.parent) == 0o711
                assert {mode(path) for path in state.iterdir()} == {0o600}
        finally:
            os.umask(before)

    def test_it_takes_an_empty_folder_and_makes_it_private(self, place: Path) -> None:
        state = place / "state"
        state.mkdir()
        state.chmod(0o777)
        with prepare(state):
            assert mode(state) in (0o700, 0o711)

    def test_it_is_marked_and_found_again(self, place: Path) -> None:
        with prepare(place / "state") as state:
            assert json.loads((state / "datarun.json").read_text()) == {"format": 1}
            (state / "data").write_text("kept")
        with prepare(place / "state") as state:
            assert (state / "data").read_text() == "kept"

    def test_it_serves_one_platform_at_a_time(self, place: Path) -> None:
        with prepare(place):
            assert f"already runs in {place} (process {os.getpid()})" in refusal(place)
        with prepare(place):
            pass

    def test_the_lock_ends_with_a_process_that_is_killed(self, place: Path) -> None:
        program = f"""if True:
            from pathlib import Path
            from datarun.embedded.folder import prepare
            with prepare(Path({str(place)!r})):
                print(flush=True)
                input()"""
        root = Path(folder.__file__).parents[2]
        with subprocess.Popen(
            [sys.executable, "-c", program], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"\n"
            assert f"process {holder.pid}" in refusal(place)
            holder.kill()
        with prepare(place):
            pass

    @pytest.mark.parametrize("left_over", [["lock"], ["lock", "datarun.json.new"]])
    def test_a_start_cut_short_is_taken_up(self, place: Path, left_over: list[str]) -> None:
        for name in left_over:
            (place / name).touch()
        with prepare(place):
            assert json.loads((place / "datarun.json").read_text()) == {"format": 1}

    def test_a_foreign_folder_is_refused_and_left_as_it_is(self, place: Path) -> None:
        (place / "thesis.tex").write_text("text")
        assert "not a folder of datarun: choose another with DATARUN_HOME, or remove it" in refusal(place)
        assert [path.name for path in place.iterdir()] == ["thesis.tex"]
        assert mode(place) == 0o755

    @pytest.mark.parametrize("content", ["", "nonsense", "\udcff"])
    def test_a_marker_that_can_not_be_read_is_refused(self, place: Path, content: str) -> None:
        (place / "datarun.json").write_bytes(content.encode(errors="surrogateescape"))
        assert "not a folder of datarun" in refusal(place)

    @pytest.mark.parametrize("content", ['{"format": 2}', "{}", "[]"])
    def test_another_format_is_refused(self, place: Path, content: str) -> None:
        (place / "datarun.json").write_text(content)
        assert "needs format 1" in refusal(place)

    def test_a_file_is_refused(self, place: Path) -> None:
        (place / "state").touch()
        assert "is not a folder" in refusal(place / "state")
        assert "Not a directory" in refusal(place / "state" / "below")

    def test_no_permission_to_create_it(self, place: Path, as_normal_user: None) -> None:
        (place / "closed").mkdir(mode=0o500)
        assert "(Permission denied): choose a folder you can write to with DATARUN_HOME" in refusal(
            place / "closed" / "state"
        )

    def test_no_permission_to_enter_its_parent(self, place: Path, as_normal_user: None) -> None:
        (place / "closed").mkdir(mode=0o000)
        assert "(Permission denied)" in refusal(place / "closed" / "state" / "below")

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root can give a folder away")
    def test_the_folder_of_another_user_is_refused(self, place: Path) -> None:
        os.chown(place, pwd.getpwnam("nobody").pw_uid, -1)
        assert "belongs to another user (nobody)" in refusal(place)
        os.chown(place, 54321, -1)
        assert "belongs to another user (uid 54321)" in refusal(place)


def test_private_sub_folders(place: Path) -> None:
    assert private(place, "broker") == place / "broker"
    assert mode(place / "broker") == 0o700
    (place / "broker").chmod(0o755)
    (place / "broker" / "message").touch()
    assert mode(private(place, "broker")) == 0o700
    assert (place / "broker" / "message").exists()
