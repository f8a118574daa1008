"""Releases: datarun as this checkout has it, with its pinned requirements, each in a folder and a virtual environment.

    /opt/datarun/releases/<id>/   venv, manage.py, gunicorn.conf.py; `complete` once all of it is there
    /opt/datarun/current          the one that runs
    /opt/datarun/previous         the one that `fab rollback` goes back to

The id stands for the content: the same checkout is the same release, wherever and whenever it is built.
"""

import hashlib
import io
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .errors import ProvisionError
from .machine import Machine, local

CHECKOUT = Path(__file__).resolve().parents[1]
HOME = "/opt/datarun"
CURRENT, PREVIOUS = f"{HOME}/current", f"{HOME}/previous"
RUNNER_PACKAGES = CHECKOUT / "script_install" / "requirements-runner.txt"
_KEPT = 3
_SOURCES = ("datarun", "runapp", "pyproject.toml", "README.md", "LICENSE")


@dataclass(frozen=True)
class Release:
    """What is installed on machines of one role, `master` or `runner`."""

    role: str
    sources: str
    wheel_name: str
    wheel: bytes
    constraints: str
    packages: str
    files: dict[str, bytes]

    @cached_property
    def id(self) -> str:
        made = hashlib.sha256()
        for text in (self.sources, self.role, self.constraints, self.packages):
            made.update(text.encode() + b"\0")
        for name, content in sorted(self.files.items()):
            made.update(name.encode() + b"\0" + content + b"\0")
        return f"{self.wheel_name.split('-')[1]}-{made.hexdigest()[:12]}"

    @property
    def folder(self) -> str:
        return f"{HOME}/releases/{self.id}"


def build() -> dict[str, Release]:
    """Builds the wheel of this checkout; returns a release for each role."""
    with tempfile.TemporaryDirectory() as name:
        # A copy: in the checkout, what earlier builds have left there would get in.
        sources = Path(name) / "sources"
        sources.mkdir()
        for source in _SOURCES:
            path = CHECKOUT / source
            if path.is_dir():
                shutil.copytree(path, sources / source, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, sources / source)
        digest = _digest(sources)
        local(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", name, str(sources))
        (wheel,) = Path(name).glob("datarun-*.whl")
        content = wheel.read_bytes()
    constraints = (CHECKOUT / "requirements.txt").read_text()
    master_files = {file: (CHECKOUT / file).read_bytes() for file in ("manage.py", "gunicorn.conf.py")}
    packages = RUNNER_PACKAGES.read_text()
    return {
        "master": Release("master", digest, wheel.name, content, constraints, "", master_files),
        "runner": Release("runner", digest, wheel.name, content, constraints, packages, {}),
    }


def _digest(folder: Path) -> str:
    """What stands for the sources. Not the wheel: it has the time of its making, and which tools made it."""
    made = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        made.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return made.hexdigest()


def install(machine: Machine, release: Release) -> None:
    """The release in its folder, complete; it does not run yet."""
    if machine.run("test", "-e", f"{release.folder}/complete", check=False).code == 0:
        return
    if not machine.change(f"install release {release.id}"):
        return
    machine.run("install", "-d", "-m", "755", HOME, f"{HOME}/releases")
    staging = machine.run("mktemp", "-d", f"{HOME}/staging.XXXXXX").text.strip()
    files = release.files | {
        release.wheel_name: release.wheel,
        "constraints.txt": release.constraints.encode(),
        "packages.txt": release.packages.encode(),
    }
    for name, content in files.items():
        machine.upload(io.BytesIO(content), "sh", "-euc", 'umask 022; cat >"$1"', "sh", f"{staging}/{name}")
    wheel = f"{release.wheel_name}[{release.role}]"
    machine.script(_INSTALL, staging, release.folder, wheel, what=f"the installation of release {release.id}")


#: A run that was cut short may still be at it, or have left a part, which is no good.
_INSTALL = f"""
exec 9>{HOME}/lock; flock 9
[ ! -e "$2/complete" ] || exit 0
rm -rf -- "$2"; mv "$1" "$2"; chmod 755 "$2"; cd "$2"
umask 022; python3 -m venv venv
venv/bin/python -m pip install -q --no-input --disable-pip-version-check -c constraints.txt -r packages.txt "./$3"
touch complete
"""


def switch(machine: Machine, folder: str) -> None:
    """Makes the release in `folder` the current one, and the current one the previous one."""
    now = current(machine)
    if now == folder or not machine.change(f"switch to release {folder.rsplit('/', 1)[1]}"):
        return
    linked = 'ln -sfn "$1" "$2.new"; mv -fT "$2.new" "$2"'
    if now:
        machine.script(linked, now, PREVIOUS)
    machine.script(linked, folder, CURRENT)
    _prune(machine)


def current(machine: Machine) -> str:
    """The folder of the release that runs; empty where there is none."""
    return machine.run("readlink", CURRENT, check=False).text.strip()


def previous(machine: Machine) -> str:
    """The folder of the release before. Raises `ProvisionError` where there is none."""
    folder = machine.run("readlink", PREVIOUS, check=False).text.strip()
    if not folder or machine.run("test", "-e", f"{folder}/complete", check=False).code:
        raise ProvisionError("it has no earlier release to go back to.")
    return folder


def _prune(machine: Machine) -> None:
    machine.script(f"find {HOME} -maxdepth 1 -name 'staging.*' -mtime +1 -exec rm -rf {{}} +")
    newest_first = machine.run("ls", "-1t", f"{HOME}/releases").text.split()
    kept = {
        path.rsplit("/", 1)[1]
        for path in (current(machine), machine.run("readlink", PREVIOUS, check=False).text.strip())
        if path
    }
    for name in newest_first:
        if len(kept) < _KEPT:
            kept.add(name)
        elif name not in kept:
            machine.run("rm", "-rf", "--", f"{HOME}/releases/{name}")
