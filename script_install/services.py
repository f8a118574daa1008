"""The service manager of a machine: units, and whether they run as they were last written.

Everything goes through `systemctl`; where systemd does not run, a replacement of that name is all it takes.
What a unit was last started with is remembered, so that it is restarted when that differs, and after a run that
was cut short between writing and restarting; otherwise never.
"""

import hashlib
from collections.abc import Iterable

from .errors import ProvisionError
from .machine import Machine

FOLDER = "/etc/systemd/system"
_APPLIED = "/etc/datarun/applied"
_ENABLED = ("enabled", "enabled-runtime", "static")


def unit(machine: Machine, name: str, text: str) -> None:
    """A unit file, or a drop-in, as the file `name` below systemd's folder."""
    if "/" in name:
        machine.folder(f"{FOLDER}/{name.rsplit('/', 1)[0]}")
    if machine.file(f"{FOLDER}/{name}", text) and not machine.plan:
        machine.run("systemctl", "daemon-reload")


def digest(*inputs: str) -> str:
    """What stands for all that a service was started with."""
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()


def is_active(machine: Machine, name: str) -> bool:
    return machine.run("systemctl", "is-active", name, check=False).text.strip() == "active"


def needs_start(machine: Machine, name: str, inputs: str) -> bool:
    """Whether it does not run, or runs with other inputs than these (a `digest`)."""
    return not is_active(machine, name) or machine.read(f"{_APPLIED}/{name}") != inputs


def ensure(machine: Machine, name: str, inputs: str, verb: str = "restart") -> bool:
    """Enabled, and running with `inputs`; `verb` is what brings changed ones to it. Returns whether it changed."""
    if machine.run(
        "systemctl", "is-enabled", name, check=False
    ).text.strip() not in _ENABLED and machine.change(f"enable {name}"):
        machine.run("systemctl", "enable", name)
    if not needs_start(machine, name, inputs):
        return False
    how = verb if is_active(machine, name) else "start"
    if machine.change(f"{how} {name}"):
        machine.run("systemctl", how, name, what=f"systemctl {how} {name}")
        if not is_active(machine, name):
            raise ProvisionError(f"{name} does not run: fab logs --host {machine.address} says why.")
        machine.folder(_APPLIED, mode="700")
        machine.file(f"{_APPLIED}/{name}", inputs, mode="600")
    return True


def restart(machine: Machine, names: Iterable[str]) -> None:
    """Restarts what runs there of these; runners give their folds the grace of their settings."""
    for name in names:
        if machine.change(f"restart {name}"):
            machine.run("systemctl", "restart", name)


def remove(machine: Machine, name: str) -> None:
    """Stopped, disabled and gone."""
    if machine.read(f"{FOLDER}/{name}") is not None and machine.change(f"stop and remove {name}"):
        machine.run("systemctl", "disable", name, check=False)
        machine.run("systemctl", "stop", name)
        machine.run("rm", "-f", f"{FOLDER}/{name}", f"{_APPLIED}/{name}")
        machine.run("systemctl", "daemon-reload")


def logs(machine: Machine, name: str, lines: int) -> str:
    """The last lines of a service's log."""
    said = machine.run("journalctl", "--no-pager", "-n", str(lines), "-u", name, check=False)
    return said.text or said.errors
