"""Environments that data sets want (docs/kits.rst): each has order queues of its own."""

from django.db import connection

from datarun.contract import queues

from .errors import BadInput


def checked(name: str) -> str:
    """The name of an environment, or ""; raises `BadInput`. Whether a runner offers it, only runners know."""
    if name and not queues.ENVIRONMENT.fullmatch(name):
        raise BadInput(
            "environment", f"{name[:40]!r} is no name: letters, digits, dots and dashes, at most 32."
        )
    return name


def order_queues() -> list[str]:
    """The queues that runners may take orders from."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT environment FROM runapp_rawdata WHERE environment <> '' ORDER BY environment"
        )
        environments = ["", *(environment for (environment,) in cursor.fetchall())]
    return [
        queues.in_environment(name, environment)
        for environment in environments
        for name in queues.ORDER_QUEUES
    ]
