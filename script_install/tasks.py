"""The commands of an operator: ``fab --list``. What they do on a machine is in `master`, `runner` and `backup`."""

import sys
import threading
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

from fabric import task

from . import backup as backups
from . import fleet, inventory, release, services, tls
from . import master as masters
from . import runner as runners_
from .broker import Broker
from .envfile import Settings
from .errors import ProvisionError
from .fleet import Report
from .inventory import RunnerSpec
from .machine import Machine
from .release import Release
from .runner import Credentials

__all__ = [
    "backup", "logs", "master", "remove", "restart", "restore", "rollback", "runner", "runners", "runners_install",
    "status", "upgrade",
]  # fmt: skip

_HERE = Path(__file__).parent
_LIST, _ENV = _HERE / "list_runners.txt", _HERE / "env.sh"
_writing = threading.Lock()


def _say(text: str) -> None:
    with _writing:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def _task(work: Callable[..., list[Report] | None]) -> Any:
    """A task of Fabric: its refusal is one sentence, and its exit code says whether all went well."""

    @task(auto_shortflags=False)  # type: ignore[untyped-decorator]
    @wraps(work)
    def made(c: Any, *arguments: Any, **options: Any) -> None:
        try:
            reports = work(c, *arguments, **options)
        except ProvisionError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(2)
        if reports is not None:
            _say("\n" + fleet.summary(fleet.merged(reports)))
            if any(report.problem for report in reports):
                sys.exit(1)

    return made


class _Site:
    """The local files, and machines as they say."""

    def __init__(self, c: Any, env: str = "", file: str = "", plan: bool = False) -> None:
        self._config, self.plan = c.config, plan
        self.settings = Settings.read(Path(env or _ENV))
        self._file = Path(file or _LIST)

    def machine(self, address: str) -> Machine:
        return Machine(address, self._config, self.plan, _say)

    def master(self, host: str = "") -> Machine:
        return self.machine(host or self.settings.master)

    def specs(self) -> list[RunnerSpec]:
        return inventory.read(self._file)

    def spec(self, address: str) -> RunnerSpec:
        for spec in self.specs():
            if spec.address == address:
                return spec
        raise ProvisionError(f"{self._file} has no line for {address}: add one.")

    def everything(self, host: str = "") -> list[Machine]:
        """Master and runners, or one of them."""
        found = [self.settings.master, *(spec.address for spec in self.specs())]
        chosen = [self.machine(address) for address in found if host in ("", address)]
        if not chosen:
            raise ProvisionError(f"{host} is neither the master nor in {self._file}.")
        return chosen

    def units(self, machine: Machine) -> list[str]:
        """The services that a machine is for."""
        return masters.units(machine) if machine.address == self.settings.master else [runners_.UNIT]


@_task
def master(c: Any, host: str = "", env: str = "", plan: bool = False) -> list[Report]:
    """Provision the master (--host; IP_MASTER without it)."""
    site = _Site(c, env, plan=plan)
    made = release.build()["master"]
    work = partial(masters.provision, settings=site.settings, made=made)
    return [fleet.one(site.master(host), work)]


@_task
def runners(c: Any, file: str = "", env: str = "", plan: bool = False) -> list[Report]:
    """Provision all runners of list_runners.txt; drain and remove those that are no longer in it."""
    site = _Site(c, env, file, plan)
    specs = site.specs()
    reports = _provision(site, specs, release.build()["runner"])
    return reports + _remove_others(site, {spec.name for spec in specs})


@_task
def runner(c: Any, host: str, file: str = "", env: str = "", plan: bool = False) -> list[Report]:
    """Provision one runner, as its line in list_runners.txt says."""
    site = _Site(c, env, file, plan)
    return _provision(site, [site.spec(host)], release.build()["runner"])


@_task
def upgrade(c: Any, file: str = "", env: str = "", plan: bool = False) -> list[Report]:
    """Bring master, then runners a few at a time, to the release of this checkout. No job is lost."""
    site = _Site(c, env, file, plan)
    specs, made = site.specs(), release.build()
    # What takes long comes first, while all work: nobody waits for it once the master is another.
    machines = [site.machine(spec.address) for spec in specs]
    reports = fleet.each(machines, partial(runners_.install, made=made["runner"]))
    reports.append(
        fleet.one(site.master(), partial(masters.provision, settings=site.settings, made=made["master"]))
    )
    if reports[-1].problem:  # runners of a newer release have nobody to speak to
        return reports
    return reports + _provision(site, specs, made["runner"])


@_task
def rollback(c: Any, file: str = "", env: str = "", plan: bool = False) -> list[Report]:
    """Bring master, then runners, back to the release before this one, the database's tables included."""
    site = _Site(c, env, file, plan)
    reports = [fleet.one(site.master(), partial(masters.roll_back, settings=site.settings))]
    if reports[0].problem:
        return reports
    machines = [site.machine(spec.address) for spec in site.specs()]
    return reports + fleet.each(machines, runners_.roll_back, width=_few(machines))


@_task
def runners_install(c: Any, packages: str, file: str = "", env: str = "", plan: bool = False) -> list[Report]:
    """Add packages (separated by blanks or commas) to all runners, pinned; runners restart draining."""
    site = _Site(c, env, file, plan)
    specs = site.specs()
    if not specs:
        raise ProvisionError("There are no runners to install packages on.")
    with site.machine(specs[0].address).connected() as machine:
        pins = runners_.resolve(machine, tuple(packages.replace(",", " ").split()))
    _say(f"{' '.join(pins) or 'all of it is installed already'}")
    if pins and not plan:
        with release.RUNNER_PACKAGES.open("a") as listed:
            listed.writelines(f"{pin}\n" for pin in pins)
    return _provision(site, specs, release.build()["runner"])


@_task
def restart(c: Any, host: str = "", file: str = "", env: str = "") -> list[Report]:
    """Restart datarun's services, everywhere or on one host; runners drain, a few at a time."""
    site = _Site(c, env, file)
    machines = site.everything(host)

    def again(machine: Machine) -> None:
        services.restart(machine, [unit for unit in site.units(machine) if unit.startswith("datarun-")])

    return fleet.each(machines, again, width=_few(machines))


@_task
def logs(c: Any, host: str = "", lines: int = 50, file: str = "", env: str = "") -> None:
    """Show the last lines of the services' logs, of all hosts or one."""
    site = _Site(c, env, file)
    for machine in site.everything(host):
        with machine.connected():
            for unit in site.units(machine):
                _say(f"==> {machine.address}: {unit}\n{services.logs(machine, unit, lines)}")


@_task
def status(c: Any, file: str = "", env: str = "") -> None:
    """Show what runs where, versions, when runners were last seen, and what waits."""
    site = _Site(c, env, file)
    states: dict[str, list[str]] = {}

    def look(machine: Machine) -> None:
        states[machine.address] = [
            unit for unit in site.units(machine) if not services.is_active(machine, unit)
        ]

    reports = fleet.each(site.everything(), look)
    with site.master().connected() as machine:
        known = masters.status(machine)
        depths = Broker(machine, site.settings.vhost).depths()
        ends = tls.days_left(machine)
    seen = {entry["name"]: entry for entry in known["runners"]}
    rows: list[tuple[str, ...]] = [
        ("host", "services", "state", "queues", "busy", "release", "differs in", "last seen")
    ]
    for report in reports:
        down = states.get(report.address, [])
        ok = report.problem or (f"down: {', '.join(down)}" if down else "up")
        entry = seen.get(inventory.name_of(report.address))
        rows.append((report.address, ok, *(_described(entry) if entry else [""] * 6)))
    _say(fleet.table(rows))
    waiting = [(row["queue"], row["state"], str(row["jobs"])) for row in known["queues"]]
    _say("\n" + fleet.table([("jobs in", "state", "number"), *waiting]))
    columns = ("name", "messages_ready", "messages_unacknowledged", "consumers")
    in_broker = [tuple(str(depth[column]) for column in columns) for depth in depths]
    _say("\n" + fleet.table([("broker's queue", "ready", "taken", "consumers"), *sorted(in_broker)]))
    _say(f"\nThe certificate ends {ends}.")
    if any(states.values()) or any(report.problem for report in reports):
        sys.exit(1)


@_task
def backup(c: Any, to: str, env: str = "") -> list[Report]:
    """Copy database and blobs into a local folder, and check the copy by restoring it beside the platform."""
    site = _Site(c, env)
    folder = Path(to).expanduser()
    return [fleet.one(site.master(), partial(backups.back_up, settings=site.settings, folder=folder))]


@_task
def restore(c: Any, source: str, env: str = "", yes: bool = False) -> list[Report]:
    """Replace database and blobs by a backup: the newest in the folder --source, or the one that it names."""
    site = _Site(c, env)
    made = backups.latest(Path(source).expanduser())
    if not yes:
        raise ProvisionError(f"What the master has would be replaced by {made}: say so with --yes.")
    return [fleet.one(site.master(), partial(backups.restore, settings=site.settings, made=made))]


@_task
def remove(c: Any, host: str, env: str = "", plan: bool = False) -> list[Report]:
    """Drain a runner, remove what was installed on it, and revoke its user and token."""
    site = _Site(c, env, plan=plan)
    return _remove(site, [host])


def _few(machines: list[Any]) -> int:
    """How many may be away at a time, so that the others carry on."""
    return max(1, len(machines) // 4)


def _provision(site: _Site, specs: list[RunnerSpec], made: Release) -> list[Report]:
    """Installs on all at a time; then starts, or restarts draining, a few at a time."""
    machines = {spec.address: site.machine(spec.address) for spec in specs}
    by_address = {spec.address: spec for spec in specs}
    known: dict[str, Credentials] = {}

    def install(machine: Machine) -> None:
        runners_.install(machine, made)
        known[machine.address] = runners_.credentials(machine)

    reports = fleet.each(machines.values(), install)
    ready = {address: (by_address[address], credentials) for address, credentials in known.items()}
    if not ready:
        return reports
    admitted: dict[str, Credentials] = {}
    authority = ""

    def admit(machine: Machine) -> None:
        nonlocal authority
        authority = tls.authority(machine, site.settings)
        admitted.update(runners_.admit(machine, site.settings, ready))

    reports.append(fleet.one(site.master(), admit))

    def start(machine: Machine) -> None:
        address = machine.address
        runners_.start(machine, site.settings, by_address[address], admitted[address], made, authority)

    chosen = [machines[address] for address in admitted]
    return reports + fleet.each(chosen, start, width=_few(chosen))


def _remove_others(site: _Site, listed: set[str]) -> list[Report]:
    """Those that the broker knows, and the list no longer has."""
    with site.master().connected() as machine:
        known = Broker(machine, site.settings.vhost).users
    gone = [inventory.address_of(name) for name in sorted(known - listed)]
    return _remove(site, [address for address in gone if address])


def _remove(site: _Site, addresses: list[str]) -> list[Report]:
    """Drains and removes; a machine that can't be reached any more is revoked all the same."""
    if not addresses:
        return []
    reports = fleet.each([site.machine(address) for address in addresses], runners_.remove)

    def revoke(machine: Machine) -> None:
        for address in addresses:
            runners_.revoke(machine, site.settings, inventory.name_of(address))

    return [*reports, fleet.one(site.master(), revoke)]


def _described(entry: dict[str, Any]) -> list[str]:
    return [
        entry["state"],
        ",".join(entry["queues"]),
        f"{entry['runs']}/{entry['slots']}",
        entry["versions"].get("datarun", "?"),
        ",".join(entry["differs"]),
        (entry["last_seen"] or "never")[:19],
    ]
