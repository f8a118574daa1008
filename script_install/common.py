"""What masters and runners have alike: the service user, its settings and secrets, the firewall, the log's limits."""

import re
from collections.abc import Iterable, Mapping

from . import services
from .errors import ProvisionError
from .machine import Machine
from .templates import environment, render

USER = "datarun"
HOME = "/var/lib/datarun"
ETC = "/etc/datarun"
SECRETS = f"{ETC}/secrets"
ENVIRONMENT = f"{ETC}/datarun.env"
_OWNER = f"{USER}:{USER}"
MASTER, RUNNER = "master", "runner"


def prepare(machine: Machine, role: str, packages: Iterable[str]) -> None:
    """A supported machine with packages, service user and folders. Raises `ProvisionError` if it has another role."""
    machine.check_supported()
    other = (machine.read(f"{ETC}/role") or role).strip()
    if other != role:
        raise ProvisionError(
            f"it is a {other} already, and can't be a {role} too: submissions run apart from the master."
        )
    machine.packages("ca-certificates", "nftables", "python3-venv", *packages)
    machine.user(USER, HOME)
    machine.folder(ETC)
    machine.folder(SECRETS, f"root:{USER}", "750")
    machine.file(f"{ETC}/role", f"{role}\n")
    machine.folder(HOME, _OWNER, "750")
    machine.folder("/etc/systemd/journald.conf.d")
    if (
        machine.file("/etc/systemd/journald.conf.d/datarun.conf", render("journald.conf"))
        and not machine.plan
    ):
        machine.run("systemctl", "try-restart", "systemd-journald", check=False)


def settings_and_secrets(machine: Machine, values: Mapping[str, str], secrets: Mapping[str, str]) -> str:
    """The services' environment. A secret stands in a file that they alone read, and `NAME_FILE` says where.

    Returns what stands for all of it.
    """
    named = dict(values)
    for name, secret in secrets.items():
        path = f"{SECRETS}/{name.lower()}"
        machine.file(path, secret, _OWNER, "400")
        named[f"{name}_FILE"] = path
    text = environment(named)
    machine.file(ENVIRONMENT, text)
    return services.digest(text, *(secrets[name] for name in sorted(secrets)))


def inputs(machine: Machine) -> str:
    """What stands for the environment as it is on the machine."""
    text = machine.read(ENVIRONMENT) or ""
    paths = re.findall(rf'^\w+="({SECRETS}/\w+)"$', text, re.MULTILINE)
    return services.digest(text, *(machine.read(path) or "" for path in paths))


def secret(machine: Machine, name: str) -> str | None:
    """A secret that the machine has."""
    return machine.read(f"{SECRETS}/{name.lower()}")


def folders(machine: Machine, *paths: str) -> None:
    """Folders that the service user owns, and nobody else enters."""
    for path in paths:
        machine.folder(path, _OWNER, "700")


def firewall(machine: Machine, *ports: int) -> None:
    """Leaves ssh and these ports open."""
    rules = render("firewall.nft", ports=", ".join(map(str, sorted({machine.ssh_port, *ports}))))
    unit = render("datarun-firewall.service")
    machine.file(f"{ETC}/firewall.nft", rules)
    services.unit(machine, "datarun-firewall.service", unit)
    services.ensure(machine, "datarun-firewall.service", services.digest(rules, unit), verb="reload")
