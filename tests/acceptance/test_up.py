"""``bin/up``: the whole platform with one command, and what it says when it can't."""

import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from .platform import CHECKOUT, wait_until

UP = CHECKOUT / "bin" / "up"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with a data folder of its own, which another system user may pass through."""
    folder = tmp_path_factory.mktemp("up")
    for parent in (folder, *folder.parents):
        if parent == Path("/tmp"):
            break
        parent.chmod(0o711)
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return inherited | {"DATARUN_HOME": str(folder / "home")}


def test_demo_runs_every_fold_shows_leaderboards_and_exits_with_zero(home: dict[str, str]) -> None:
    done = subprocess.run(
        [UP, "--port", str(_free_port()), "--demo", "--exit"],
        env=home,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"fold \d: done", done.stdout)) == 18
    assert done.stdout.count("Leaderboard of demo") == 3
    assert done.stdout.count("blended") == 3
    assert "First admin user: admin" in done.stdout
    for name in ("web", "scheduler", "runner"):
        assert f"\n{name.ljust(9)} | " in done.stdout


def test_ctrl_c_stops_everything_and_it_starts_again(home: dict[str, str], tmp_path: Path) -> None:
    port = str(_free_port())
    for _ in range(2):
        with (tmp_path / "log").open("w+") as log:
            process = subprocess.Popen([UP, "--port", port], env=home, stdout=log, stderr=log)
            try:
                wait_until(lambda: "datarun runs at" in (tmp_path / "log").read_text(), 60, "the address")
            finally:
                process.send_signal(signal.SIGINT)
                code = process.wait(30)
        assert code == 0, (tmp_path / "log").read_text()
    assert "First admin user" not in (tmp_path / "log").read_text()


def test_a_port_in_use_is_one_clear_sentence(home: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([UP, "--port", str(port)], env=home, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        f"Port {port} can't be used (Address already in use): choose another with --port."
    )


def test_a_folder_of_somebody_else_is_one_clear_sentence(home: dict[str, str]) -> None:
    folder = Path(home["DATARUN_HOME"])
    folder.mkdir()
    (folder / "thesis.tex").write_text("")
    done = subprocess.run(
        [UP, "--port", str(_free_port())], env=home, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert str(folder) in done.stderr
    assert "DATARUN_HOME" in done.stderr
