"""RabbitMQ on the master: its virtual host, and who may do what there.

It is asked once for all it knows, and given what is missing: users with a salted hash of their password, never
the password.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from datarun.contract.queues import Permissions

from .errors import ProvisionError
from .machine import Machine

_DEFINITIONS = "/etc/rabbitmq/datarun/definitions.json"
_SALT = 4  # bytes; RabbitMQ's
EVERYTHING = Permissions(".*", ".*", ".*")


@dataclass(frozen=True, slots=True)
class BrokerUser:
    """A user of the virtual host."""

    password: str
    permissions: Permissions


def url(user: str, password: str, host: str, vhost: str, tls: bool) -> str:
    """Where this user connects: with TLS from outside, without it on the master itself."""
    where = f"amqps://{{}}@{host}:5671" if tls else f"amqp://{{}}@{host}:5672"
    return where.format(f"{_quoted(user)}:{_quoted(password)}") + f"/{_quoted(vhost)}"


def password_in(broker_url: str | None) -> str:
    """The password in such a URL, or a new one where there is none yet."""
    return unquote(urlsplit(broker_url.strip()).password or "") if broker_url else secrets.token_urlsafe(24)


def _quoted(text: str) -> str:
    return quote(text, safe="")


class Broker:
    """The RabbitMQ server of the master."""

    def __init__(self, machine: Machine, vhost: str) -> None:
        self._machine, self._vhost = machine, vhost
        self._known: dict[str, Any] = {}
        self.refresh()

    def refresh(self) -> None:
        """Asks it anew. Where it does not run yet (with `plan` only), it knows nothing."""
        asked = self._machine.run(
            "rabbitmqctl", "-q", "export_definitions", "-", check=not self._machine.plan
        )
        try:
            self._known = json.loads(asked.text[asked.text.find("{") :]) if not asked.code else {}
        except ValueError as error:
            raise ProvisionError("rabbitmqctl export_definitions does not answer in JSON.") from error

    @property
    def users(self) -> set[str]:
        return {user["name"] for user in self._known.get("users", ())}

    def ensure(self, wanted: Mapping[str, BrokerUser]) -> None:
        """The virtual host, and these users in it, with their passwords and permissions."""
        made: dict[str, list[Any]] = {"vhosts": [], "users": [], "permissions": []}
        if self._vhost not in {vhost["name"] for vhost in self._known.get("vhosts", ())}:
            made["vhosts"].append({"name": self._vhost})
        hashes = {user["name"]: user["password_hash"] for user in self._known.get("users", ())}
        granted = {
            given["user"]: Permissions(given["configure"], given["write"], given["read"])
            for given in self._known.get("permissions", ())
            if given["vhost"] == self._vhost
        }
        for name, user in wanted.items():
            if not _matches(hashes.get(name, ""), user.password):
                made["users"].append(_user(name, user.password))
            if granted.get(name) != user.permissions:
                rights = user.permissions._asdict()
                made["permissions"].append({"user": name, "vhost": self._vhost, **rights})
        changed = sorted(
            {*(user["name"] for user in made["users"]), *(p["user"] for p in made["permissions"])}
        )
        what = f"RabbitMQ: grant {', '.join(changed) or f'the virtual host {self._vhost}'}"
        if any(made.values()) and self._machine.change(what):
            # Not by standard input, of which it may read a part only.
            self._machine.file(_DEFINITIONS, json.dumps(made), "rabbitmq:rabbitmq", "400")
            self._machine.run("rabbitmqctl", "-q", "import_definitions", _DEFINITIONS)
            self._machine.run("rm", _DEFINITIONS)
            self.refresh()

    def remove(self, name: str) -> None:
        """No such user: its connections are closed, nobody else's."""
        if name in self.users and self._machine.change(f"RabbitMQ: remove the user {name}"):
            self._machine.run("rabbitmqctl", "-q", "delete_user", name)
            self.refresh()

    def depths(self) -> list[dict[str, Any]]:
        """What waits in each queue, and what was taken and is not acknowledged yet."""
        columns = ("name", "messages_ready", "messages_unacknowledged", "consumers")
        asked = self._machine.run(
            "rabbitmqctl", "-q", "list_queues", "-p", self._vhost, "--formatter", "json", *columns
        )
        found: list[dict[str, Any]] = json.loads(asked.text)
        return found


def _user(name: str, password: str) -> dict[str, Any]:
    salt = secrets.token_bytes(_SALT)
    hashed = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    algorithm = "rabbit_password_hashing_sha256"
    return {"name": name, "password_hash": hashed, "hashing_algorithm": algorithm, "tags": []}


def _matches(hashed: str, password: str) -> bool:
    known = base64.b64decode(hashed)
    return bool(known) and hashlib.sha256(known[:_SALT] + password.encode()).digest() == known[_SALT:]
