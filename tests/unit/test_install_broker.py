"""What is given to RabbitMQ: any password survives the URL, and what it has already is not given again."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from kombu import Connection

from script_install.broker import EVERYTHING, Broker, BrokerUser, password_in, url
from script_install.machine import Answer


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_password_survives_the_url(password: str) -> None:
    made = url("celery@one", password, "[::1]", "my vhost", tls=True)
    assert password_in(f"{made}\n") == password
    assert made.startswith("amqps://celery%40one:")


def test_the_url_means_the_same_to_who_connects() -> None:
    connection = Connection(url("celery@one", "p@ss/w:%é", "10.0.0.1", "a/b", tls=False))
    assert (connection.userid, connection.password, connection.hostname, connection.virtual_host) == (
        "celery@one", "p@ss/w:%é", "10.0.0.1", "a/b",
    )  # fmt: skip


def test_without_a_url_there_is_a_new_password_each_time() -> None:
    assert password_in(None) != password_in(None)


class Server:
    """What RabbitMQ would know after each import: it keeps hashes only."""

    def __init__(self) -> None:
        self.plan, self.changes, self.definitions = False, 0, {"vhosts": [], "users": [], "permissions": []}
        self._given = ""

    def run(self, *command: str, **_: Any) -> Answer:
        if "import_definitions" in command:
            for kind, entries in json.loads(self._given).items():
                self.definitions[kind] += entries
        return Answer(f"Exporting\n{json.dumps(self.definitions)}", "", 0)

    def file(self, path: str, content: str, owner: str, mode: str) -> bool:
        self._given = content
        return True

    def change(self, what: str) -> bool:
        self.changes += 1
        return True


def test_what_it_has_already_is_not_given_again() -> None:
    server = Server()
    user = BrokerUser("pässword", EVERYTHING)
    Broker(server, "v").ensure({"one": user})  # type: ignore[arg-type]
    assert server.changes == 1
    assert "pässword" not in json.dumps(server.definitions, ensure_ascii=False)
    Broker(server, "v").ensure({"one": user})  # type: ignore[arg-type]
    assert server.changes == 1
    Broker(server, "v").ensure({"one": user, "two": user})  # type: ignore[arg-type]
    Broker(server, "v").ensure({"one": BrokerUser("other", EVERYTHING)})  # type: ignore[arg-type]
    assert server.changes == 3
    assert [entry["name"] for entry in server.definitions["users"]] == ["one", "two", "one"]
