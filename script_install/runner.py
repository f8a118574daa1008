"""A runner: one service, with its own user of RabbitMQ and its own token of the master."""

import hashlib
import json
import shlex
from dataclasses import dataclass

from datarun.contract import queues
from datarun.env import in_url

from . import broker, common, master, release, services, templates
from .broker import Broker, BrokerUser
from .envfile import Settings
from .inventory import RunnerSpec
from .machine import Machine
from .release import Release

UNIT = "datarun-runner.service"
_PACKAGES = ("libseccomp2",)
_AUTHORITY = f"{common.ETC}/ca.pem"
_TOKEN, _BROKER_URL = "DR_RUNNER_TOKEN", "BROKER_URL"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens broker and master to one runner."""

    password: str
    token: str

    @property
    def token_hash(self) -> str:
        return hashlib.sha256(self.token.encode()).hexdigest()


def install(machine: Machine, made: Release) -> None:
    """Everything that takes long and disturbs nobody."""
    common.prepare(machine, common.RUNNER, _PACKAGES)
    release.install(machine, made)


def credentials(machine: Machine) -> Credentials:
    """What the runner has; a new password and no token if it is new."""
    password = broker.password_in(common.secret(machine, _BROKER_URL))
    return Credentials(password, common.secret(machine, _TOKEN) or "")


def admit(
    machine: Machine, settings: Settings, wanted: dict[str, tuple[RunnerSpec, Credentials]]
) -> dict[str, Credentials]:
    """On the master: a user of RabbitMQ for each runner, and a token where it has none that is good."""
    Broker(machine, settings.vhost).ensure(
        {
            spec.name: BrokerUser(known.password, queues.permissions(spec.name, spec.queues))
            for spec, known in wanted.values()
        }
    )
    good = master.status(machine)["tokens"]
    admitted = {}
    for address, (spec, known) in wanted.items():
        token = known.token
        if not token or good.get(spec.name) != known.token_hash:
            token = (
                master.new_token(machine, spec.name)
                if machine.change(f"make a token for {spec.name}")
                else ""
            )
        admitted[address] = Credentials(known.password, token)
    return admitted


def revoke(machine: Machine, settings: Settings, name: str) -> None:
    """On the master: the runner's user and token are gone; no other runner notices."""
    Broker(machine, settings.vhost).remove(name)
    if name in master.status(machine)["tokens"] and machine.change(f"revoke the token of {name}"):
        master.manage(machine, "deleterunner", name)


def start(
    machine: Machine, settings: Settings, spec: RunnerSpec, known: Credentials, made: Release, authority: str
) -> None:
    """Settings, secrets and the service; one that runs otherwise is restarted, its folds having their grace."""
    common.folders(machine, settings.data, settings.submissions)
    if authority:
        machine.file(_AUTHORITY, authority)
    else:
        machine.absent(_AUTHORITY)
    hidden = {
        _BROKER_URL: broker.url(spec.name, known.password, in_url(settings.master), settings.vhost, tls=True),
        _TOKEN: known.token,
    }
    inputs = common.settings_and_secrets(machine, _environment(settings, bool(authority)), hidden)
    release.switch(machine, made.folder)
    text = templates.unit(
        UNIT,
        writable=" ".join((common.HOME, settings.data, settings.submissions)),
        command=shlex.join(_command(spec)),
        stop=str(settings.grace + 30),
    )
    services.unit(machine, UNIT, text)
    check(machine)
    services.ensure(machine, UNIT, services.digest(inputs, made.folder, text, authority))
    common.firewall(machine)


def check(machine: Machine) -> None:
    """Submissions are kept in there, tried out as the service user. Raises `ProvisionError` if they are not."""
    if not machine.plan:
        python = f"{release.CURRENT}/venv/bin/datarun"
        machine.run(python, "runner", "check", user=common.USER, what="datarun runner check")


def roll_back(machine: Machine) -> None:
    """The release before this one."""
    before = release.previous(machine)
    release.switch(machine, before)
    unit = machine.read(f"{services.FOLDER}/{UNIT}") or ""
    authority = machine.read(_AUTHORITY) or ""
    services.ensure(machine, UNIT, services.digest(common.inputs(machine), before, unit, authority))


def remove(machine: Machine) -> None:
    """Drained, stopped, and all that was installed is gone; packages of the distribution stay."""
    services.remove(machine, UNIT)
    services.remove(machine, "datarun-firewall.service")
    for path in (release.HOME, common.ETC, common.HOME):
        machine.absent(path)


def resolve(machine: Machine, packages: tuple[str, ...]) -> list[str]:
    """Pins of these packages, and of what they need, that fit what the current release has."""
    asked = (
        'cd "$1"; shift; venv/bin/python -m pip install -q --no-input --dry-run --report - '
        '-c constraints.txt -r packages.txt -- "$@"'
    )
    said = machine.script(asked, release.current(machine), *packages, what="pip install --dry-run").text
    found = [item["metadata"] for item in json.loads(said)["install"]]
    return sorted(f"{package['name']}=={package['version']}" for package in found)


def _command(spec: RunnerSpec) -> list[str]:
    command = [f"{release.CURRENT}/venv/bin/celery", "-A", "datarun", "worker", "--loglevel", "info"]
    command += ["-n", spec.address, "-Q", ",".join(spec.queues), "-c", str(spec.slots)]
    if spec.hard_limit is not None and spec.soft_limit is not None:
        command += ["--time-limit", str(spec.hard_limit), "--soft-time-limit", str(spec.soft_limit)]
    return command


def _environment(settings: Settings, private: bool) -> dict[str, str]:
    trusted = {"SSL_CERT_FILE": _AUTHORITY, "REQUESTS_CA_BUNDLE": _AUTHORITY} if private else {}
    return {
        "DR_WORKING_ENV": "PROD",
        "MASTER_URL": f"https://{in_url(settings.hosts[0])}",
        "DIR_DATA": settings.data,
        "DIR_SUBMISSION": settings.submissions,
        "DR_GRACE": str(settings.grace),
        **settings.tuning_runner,
        **trusted,
    }
