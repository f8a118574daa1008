"""Debian's packages: what is missing, and installing it as root without starting a system-wide server.

Requirements are written as in a package's dependencies: ``postgresql``, ``rabbitmq-server (>= 3.10)``.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

INSTALL = ["apt-get", "satisfy", "--yes", "--no-install-recommends"]
TIMEOUT = 900.0  # seconds for each of apt-get's two runs; slow mirrors exist
OUTPUT_LINES = 15  # of a failed run, shown in the error

#: Asked by every package before it starts its server; 101 forbids it.
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# Here while datarun's tests install packages.\nexit 101\n"
#: Read by PostgreSQL's packages before they make a cluster, which the next boot would start.
CLUSTER = Path("/etc/postgresql-common/createcluster.d/datarun-tests.conf")
CLUSTER_TEXT = "create_main_cluster = false\n"


class PackageError(Exception):
    """Packages are missing and can't be installed; the message has the command that would."""


def missing(*requirements: str) -> list[str]:
    """Those of the requirements that no installed package fulfils."""
    return [requirement for requirement in requirements if not _is_fulfilled(requirement)]


def instruction(*requirements: str) -> str:
    """What a person is told to run."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    install = shlex.join([*INSTALL, *requirements])
    return f"run `{sudo}apt-get update && {sudo}{install}`"


def ensure(*requirements: str) -> None:
    """Installs what is missing. Raises PackageError if it can't: only root can, and only on Debian."""
    needed = missing(*requirements)
    if not needed:
        return
    if os.geteuid() != 0:
        raise PackageError(f"The tests need {', '.join(needed)}: {instruction(*needed)}")
    sys.stderr.write(f"Installing {', '.join(needed)} with apt-get ...\n")
    _apt_get(needed, ["apt-get", "update"])
    with _no_server_starts():
        _apt_get(needed, [*INSTALL, *needed])


def _is_fulfilled(requirement: str) -> bool:
    match = re.fullmatch(r"([a-z0-9][a-z0-9.+-]+)(?: \(>= (\S+)\))?", requirement)
    if match is None:
        raise ValueError(f"{requirement!r} is no requirement such as 'postgresql (>= 15)'.")
    name, version = match.groups()
    try:
        query = subprocess.run(
            ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", name],
            capture_output=True, text=True,
        )  # fmt: skip
    except FileNotFoundError:
        raise PackageError(
            f"The tests need Debian's {requirement}, but this machine has no dpkg-query: run them on Debian."
        ) from None
    status, _, installed = query.stdout.partition(" ")
    if status != "installed":
        return False
    if version is None:
        return True
    return subprocess.run(["dpkg", "--compare-versions", installed, "ge", version]).returncode == 0


def _apt_get(needed: list[str], command: list[str]) -> None:
    done = subprocess.run(
        [*command, "--quiet", "--option", "DPkg::Lock::Timeout=300"],
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=TIMEOUT,
    )  # fmt: skip
    if done.returncode:
        output = "\n".join(done.stdout.splitlines()[-OUTPUT_LINES:])
        raise PackageError(f"`{shlex.join(command)}` failed, so {', '.join(needed)} is missing:\n{output}")


@contextmanager
def _no_server_starts() -> Iterator[None]:
    """While it lasts, packages start no server and make no cluster; then the machine's own policy is back."""
    with ExitStack() as stack:
        stack.enter_context(_content(POLICY, POLICY_TEXT, 0o755))
        stack.enter_context(_content(CLUSTER, CLUSTER_TEXT, 0o644))
        yield


@contextmanager
def _content(path: Path, text: str, mode: int) -> Iterator[None]:
    """While it lasts the file has this text; then its former one, or neither it nor its folders exist."""
    made = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.datarun-aside")
    if path.exists() and not aside.exists() and path.read_text() != text:  # else: left by a killed run
        path.rename(aside)
    try:
        path.write_text(text)
        path.chmod(mode)
        yield
    finally:
        path.unlink()
        if aside.exists():
            aside.rename(path)
        for parent in made:
            if not any(parent.iterdir()):
                parent.rmdir()
