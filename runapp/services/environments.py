"""Environments that data sets want (docs/kits.rst): each has order queues of its own."""

from datarun.contract import queues
from runapp.models import RawData

from .errors import BadInput


def checked(name: str) -> str:
    """The name of an environment, or ""; raises `BadInput`. Whether a runner offers it, only runners know."""
    if name and not queues.ENVIRONMENT.fullmatch(name):
        raise BadInput(
            "environment", f"{name[:40]!r} is no name: letters, digits, dots and dashes, at most 32."
        )
    return name


def order_queues(name: str | None = None) -> list[str]:
    """The queues that runners may take orders from; those of the queue `name` only."""
    wanted = RawData.objects.exclude(environment="").order_by("environment")
    environments = ["", *wanted.values_list("environment", flat=True).distinct()]
    names = queues.ORDER_QUEUES if name is None else (name,)
    return [queues.in_environment(each, environment) for environment in environments for each in names]
