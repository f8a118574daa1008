"""The master: PostgreSQL, RabbitMQ, web behind nginx, scheduler."""

import json
import secrets
from typing import Any

from datarun.env import Environment

from . import broker, common, release, services, templates, tls
from .broker import Broker, BrokerUser
from .envfile import Settings
from .errors import ProvisionError
from .machine import Machine
from .release import Release

WEB, SCHEDULER = "datarun-web.service", "datarun-scheduler.service"
UNITS = (WEB, SCHEDULER)
_RABBITMQ, _NGINX = "rabbitmq-server.service", "nginx.service"
_PACKAGES = ("postgresql", "rabbitmq-server", "nginx-light", "openssl", "curl")
_BROKER_USER = "datarun"
_HTTPS, _AMQPS, _HTTP = 443, 5671, 80


def provision(machine: Machine, settings: Settings, made: Release) -> None:
    """Everything, from a fresh machine or from what an earlier run has left."""
    common.prepare(machine, common.MASTER, _PACKAGES)
    tls.ensure(machine, settings)
    _postgresql(machine, settings)
    broker_url = _rabbitmq(machine, settings)
    common.folders(machine, settings.data)
    release.install(machine, made)
    machine.file("/usr/local/sbin/datarun-manage", templates.render("datarun-manage"), mode="755")
    values, hidden = _environment(machine, settings, broker_url)
    inputs = common.settings_and_secrets(machine, values, hidden)
    release.switch(machine, made.folder)
    migrate(machine)
    _first_user(machine, settings)
    start(machine, settings, inputs, made.folder)
    _nginx(machine, settings)
    common.firewall(machine, _HTTPS, _AMQPS, *([_HTTP] if settings.tls == "letsencrypt" else []))
    _check(machine, settings)


def manage(machine: Machine, *command: str, text: str = "", check: bool = True) -> str:
    """What a command of manage.py says there."""
    return machine.run(
        "datarun-manage", *command, text=text, check=check, what=f"manage.py {command[0]}"
    ).text


def status(machine: Machine) -> dict[str, Any]:
    """What the master knows of runners, tokens and waiting jobs; nothing where there is none yet (with `plan`)."""
    said = manage(machine, "status", check=not machine.plan)
    found: dict[str, Any] = json.loads(said) if said.strip() else {"runners": [], "tokens": {}, "queues": []}
    return found


def new_token(machine: Machine, runner: str) -> str:
    """A new token for the runner; the one it had before is no good any more."""
    return manage(machine, "createrunner", runner).strip()


def migrate(machine: Machine) -> None:
    """Tables as the current release needs them."""
    behind = machine.run("datarun-manage", "migrate", "--check", check=False).code
    if behind and machine.change("migrate the database"):
        for name in UNITS:  # no older release writes to newer tables
            machine.run("systemctl", "stop", name, check=False)
        manage(machine, "migrate", "--noinput")


def start(machine: Machine, settings: Settings, inputs: str, folder: str) -> None:
    """Web and scheduler, running the release in `folder` with these settings."""
    for name in UNITS:
        text = templates.unit(name, writable=settings.data)
        services.unit(machine, name, text)
        services.ensure(machine, name, services.digest(inputs, folder, text))


def roll_back(machine: Machine, settings: Settings) -> None:
    """The release before this one, with the tables that it knows."""
    before = release.previous(machine)
    if machine.change(f"take the database back to {before.rsplit('/', 1)[1]}"):
        shipped = machine.script(
            'ls "$1"/venv/lib/python3*/site-packages/runapp/migrations', before
        ).text.split()
        last = max(name.removesuffix(".py") for name in shipped if name[:4].isdecimal())
        manage(machine, "migrate", "--noinput", "runapp", last)
    release.switch(machine, before)
    start(machine, settings, common.inputs(machine), before)


def _postgresql(machine: Machine, settings: Settings) -> None:
    server = _postgresql_unit(machine)
    if server is None:
        machine.change(f"start PostgreSQL and make the database {settings.database}")
        return
    services.ensure(machine, server, services.digest())
    roles = _sql(machine, "SELECT rolname FROM pg_roles").split()
    if settings.database_user not in roles and machine.change(
        f"PostgreSQL: add the role {settings.database_user}"
    ):
        machine.run("createuser", "--", settings.database_user, user="postgres")
    # Over the network, though a local one: that is how the services come, with this password.
    login = (
        'IFS= read -r PGPASSWORD; export PGPASSWORD; psql -w -h 127.0.0.1 -U "$1" -d postgres -qc "SELECT 1"'
    )
    given = f"{settings.database_password}\n"
    refused = machine.script(login, settings.database_user, text=given, check=False).code
    if refused and machine.change(f"PostgreSQL: set the password of {settings.database_user}"):
        # psql hashes it itself: neither the server's log nor a process list ever sees it.
        command = f"\\password {settings.database_user}"
        machine.run("psql", "-q", "-c", command, text=given * 2, user="postgres", what="psql \\password")
        if machine.script(login, settings.database_user, text=given, check=False).code:
            raise ProvisionError(
                "PostgreSQL does not take DR_DATABASE_PASSWORD over TCP: see its pg_hba.conf."
            )
    databases = _sql(machine, "SELECT datname FROM pg_database").split()
    if settings.database not in databases and machine.change(
        f"PostgreSQL: make the database {settings.database}"
    ):
        owner = ("--owner", settings.database_user, "--encoding", "UTF8", "--template", "template0")
        machine.run("createdb", *owner, "--", settings.database, user="postgres")


def units(machine: Machine) -> list[str]:
    """All services of the master, those of the distribution among them."""
    server = _postgresql_unit(machine)
    return [*UNITS, *([server] if server else []), _RABBITMQ, _NGINX]


def _postgresql_unit(machine: Machine) -> str | None:
    """The cluster that listens on the usual port; None where none is installed yet (with `plan`)."""
    for line in machine.run("pg_lsclusters", "-h", check=not machine.plan).text.splitlines():
        version, cluster, port, *_ = line.split()
        if port == "5432":
            # Not postgresql.service, which is up whatever becomes of the cluster.
            return f"postgresql@{version}-{cluster}.service"
    if machine.plan:
        return None
    raise ProvisionError("it has no PostgreSQL cluster on port 5432: pg_lsclusters lists those that it has.")


def _sql(machine: Machine, query: str) -> str:
    return machine.run("psql", "-Atqc", query, user="postgres", check=not machine.plan).text


def _rabbitmq(machine: Machine, settings: Settings) -> str:
    """Returns the URL of the scheduler's own user."""
    tls.give_to_rabbitmq(machine)
    config = templates.render("rabbitmq.conf", folder=tls.RABBITMQ)
    limits = templates.render("rabbitmq-limits.conf")
    machine.folder("/etc/rabbitmq/conf.d")
    machine.file("/etc/rabbitmq/conf.d/10-datarun.conf", config)
    services.unit(machine, "rabbitmq-server.service.d/datarun.conf", limits)
    services.ensure(machine, _RABBITMQ, services.digest(config, limits))
    password = broker.password_in(common.secret(machine, "BROKER_URL"))
    server = Broker(machine, settings.vhost)
    server.ensure({_BROKER_USER: BrokerUser(password, broker.EVERYTHING)})
    server.remove("guest")
    return broker.url(_BROKER_USER, password, "127.0.0.1", settings.vhost, tls=False)


def _environment(
    machine: Machine, settings: Settings, broker_url: str
) -> tuple[dict[str, str], dict[str, str]]:
    values = {
        "DR_WORKING_ENV": "PROD",
        "ALLOWED_HOSTS": ",".join(settings.hosts),
        "DR_DATABASE_NAME": settings.database,
        "DR_DATABASE_USER": settings.database_user,
        "DR_DATABASE_HOST": "127.0.0.1",
        "DIR_DATA": settings.data,
        **settings.tuning_master,
    }
    hidden = {
        "SECRET_KEY": common.secret(machine, "SECRET_KEY") or secrets.token_urlsafe(50),
        "DR_DATABASE_PASSWORD": settings.database_password,
        "BROKER_URL": broker_url,
    }
    if settings.bucket_secret:
        hidden["DR_S3_SECRET_KEY"] = settings.bucket_secret
    return values, hidden


def _first_user(machine: Machine, settings: Settings) -> None:
    """An admin, where there is none yet. The password goes by standard input, and is nowhere kept."""
    asked = ("createadmin", "--name", settings.admin, "--email", settings.email)
    missing = machine.run("datarun-manage", "createadmin", "--check", check=False).code
    if missing and machine.change(f"add the first user {settings.admin}"):
        manage(machine, *asked, text=f"{settings.admin_password}\n")


def _nginx(machine: Machine, settings: Settings) -> None:
    names = " ".join(dict.fromkeys((settings.master, *settings.hosts)))
    env = Environment(settings.tuning_master)
    body = max(env.size("DR_MAX_BODY", "512MB"), env.size("DR_MAX_FILE", "2GB"))
    site = templates.render("nginx.conf", names=names, body=str(body))
    machine.file("/etc/nginx/conf.d/datarun.conf", site)
    machine.absent("/etc/nginx/sites-enabled/default")
    certificate = machine.read(f"{tls.FOLDER}/cert.pem") or ""
    inputs = services.digest(site, certificate)
    if not machine.plan:
        machine.run("nginx", "-t", "-q")
    services.ensure(machine, _NGINX, inputs, verb="reload")


def _check(machine: Machine, settings: Settings) -> None:
    """The platform answers where users will ask it."""
    if machine.plan:
        return
    host = settings.hosts[0]
    certificate = ("--cacert", f"{tls.FOLDER}/ca.pem") if settings.tls == "self-signed" else ()
    asked = ("curl", "-sS", "-o", "/dev/null", "--fail", "--max-time", "10", "--retry", "10", "--retry-delay", "1",
             "--retry-all-errors", *certificate, "--connect-to", f"{host}:443:127.0.0.1:443")  # fmt: skip
    machine.run(*asked, f"https://{host}/readyz", what=f"https://{host}/readyz, asked on the master,")
