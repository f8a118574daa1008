"""Units and configuration as they are shipped: systemd takes them, and nothing secret stands in them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from script_install import templates

PROGRAMS = ("opt/datarun/current/venv/bin/gunicorn", "opt/datarun/current/venv/bin/python",
            "opt/datarun/current/venv/bin/celery", "usr/sbin/nft", "bin/true")  # fmt: skip
UNITS = {
    "datarun-web.service": templates.unit("datarun-web.service", writable="/var/lib/datarun/data"),
    "datarun-scheduler.service": templates.unit(
        "datarun-scheduler.service", writable="/var/lib/datarun/data"
    ),
    "datarun-runner.service": templates.unit(
        "datarun-runner.service",
        writable="/var/lib/datarun /srv/data",
        command="/opt/datarun/current/venv/bin/celery -A datarun worker -n one.example.org -Q L,celery -c 2",
        stop="90",
    ),
    "datarun-firewall.service": templates.render("datarun-firewall.service"),
}
#: What every machine has, as far as the units name it.
OTHERS = ("postgresql.service", "rabbitmq-server.service")


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze"
)


def complaints(root: Path, name: str, text: str) -> list[str]:
    """What systemd says of a unit in a tree that has the programs it names."""
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    for program in PROGRAMS:
        path = root / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    shutil.copytree("/lib/systemd/system", root / "lib/systemd/system", symlinks=True)
    for other in OTHERS:
        (units / other).write_text("[Service]\nExecStart=/bin/true\n")
    (units / name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", f"--root={root}", name]
    done = subprocess.run(command, capture_output=True, text=True)
    said = (done.stdout + done.stderr).splitlines()
    return [line for line in said if name in line] or (said if done.returncode else [])


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_has_nothing_to_say_about_a_unit(tmp_path: Path, name: str) -> None:
    assert complaints(tmp_path, name, UNITS[name]) == []


@needs_systemd
def test_systemd_would_find_a_mistake(tmp_path: Path) -> None:
    text = UNITS["datarun-web.service"].replace("NoNewPrivileges=", "NoNewPriviliges=")
    assert "NoNewPriviliges" in complaints(tmp_path, "datarun-web.service", text)[0]


def test_an_environment_file_means_the_same_to_a_shell() -> None:
    values = {"PLAIN": "a", "ODD": "q\"uo\\te $HOME `id` 'x' é #"}
    script = f'{templates.environment(values)}printf "%s\\0" "$PLAIN" "$ODD"'
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.split("\0")[:2] == list(values.values())
