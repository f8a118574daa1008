"""Fixtures for tests of the deployed platform: a database, a broker and a folder of each test's own."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest

from .platform import Platform


@pytest.fixture
def database_url() -> Iterator[str]:
    """A fresh, empty database on the test server."""
    server = os.environ["DATABASE_URL"]
    name = f"acceptance_{secrets.token_hex(4)}"
    connection = psycopg2.connect(server)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
        cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    connection.close()


@pytest.fixture
def platform(tmp_path: Path, database_url: str, broker_url: str) -> Iterator[Platform]:
    """A platform on PostgreSQL and RabbitMQ, with nothing started yet."""
    made = Platform(tmp_path, database_url, broker_url)
    try:
        yield made
    finally:
        made.stop_all()
