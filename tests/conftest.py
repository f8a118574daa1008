"""What all tests share: the servers that `bin/test` starts once a run, and a fresh corner of them a test.

Starts nothing itself. A test that stops or breaks a server starts one of its own (`tests.services`).
"""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
from django.apps import apps
from django.conf import settings

from tests.services import Postgres, RabbitMQ, server_folder
from tests.services.__main__ import FOLDER_VARIABLE

#: The database's name in Django's settings, which need one, where there is none. `bin/test` has it too.
NO_DATABASE = "unit-tests-have-none"

#: Fixtures that use the database of Django's settings, and those that use the run's own servers.
DATABASE_FIXTURES = {"db", "transactional_db", "django_db_setup", "live_server"}
SERVER_FIXTURES = {"postgres", "rabbitmq"}

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "datarun.settings")
if not any(os.environ.get(name) for name in ("DATABASE_URL", "DATABASE_URL_FILE", "DR_DATABASE_NAME")):
    os.environ["DR_DATABASE_NAME"] = NO_DATABASE


def pytest_configure() -> None:
    """Sets Django up, unless pytest's own configuration names the settings and it is done."""
    if not apps.ready:
        django.setup()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--without-servers",
        action="store_true",
        help="deselect the tests whose servers are not there, instead of ending the run",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.without_servers:
        config.hook.pytest_deselected(items=[item for item in items if _lacks_servers(item)])
        items[:] = [item for item in items if not _lacks_servers(item)]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Ends the run with the command to use if a selected test needs servers that are not there."""
    if session.config.option.collectonly:
        return
    lacking = next((item for item in session.items if _lacks_servers(item)), None)
    if lacking is not None:
        arguments = " ".join(session.config.invocation_params.args)
        pytest.exit(
            f"{lacking.nodeid} needs PostgreSQL or RabbitMQ: run `bin/test {arguments}`.", returncode=4
        )


def _lacks_servers(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    if fixtures & SERVER_FIXTURES and FOLDER_VARIABLE not in os.environ:
        return True
    needs_database = bool(fixtures & DATABASE_FIXTURES) or item.get_closest_marker("django_db") is not None
    return needs_database and settings.DATABASES["default"]["NAME"] == NO_DATABASE


@pytest.fixture(scope="session")
def postgres() -> Postgres:
    """The run's PostgreSQL server, for `database`; it is shared, so no test may stop it."""
    return Postgres(Path(os.environ[FOLDER_VARIABLE]) / "postgres")


@pytest.fixture(scope="session")
def rabbitmq() -> RabbitMQ:
    """The run's RabbitMQ broker, for `vhost` and `ctl`; it is shared, so no test may stop it."""
    return RabbitMQ(Path(os.environ[FOLDER_VARIABLE]) / "rabbitmq")


@pytest.fixture
def database_url(postgres: Postgres) -> str:
    """The URL of an empty PostgreSQL database that only this test has."""
    return postgres.database(f"test_{uuid.uuid4().hex}")


@pytest.fixture
def broker_url(rabbitmq: RabbitMQ) -> str:
    """The URL of an empty RabbitMQ virtual host that only this test has."""
    return rabbitmq.vhost(f"test-{uuid.uuid4().hex}")


@pytest.fixture
def services_folder() -> Iterator[Path]:
    """A folder for servers of the test's own: other users can enter it, unlike `tmp_path`."""
    with server_folder() as folder:
        yield folder
