"""The queues between master and runners, named by what runners subscribe to, and who may do what with them."""

import re
from collections.abc import Iterable
from typing import NamedTuple

LIGHT = "L"
HEAVY = "H"
PREPARATION = "celery"

#: What a runner may take orders from.
ORDER_QUEUES = (LIGHT, HEAVY, PREPARATION)
#: The priorities that a submission fold may have: the queue it is trained on.
PRIORITIES = (LIGHT, HEAVY)

#: Names of environments: virtual environments of a runner, with versions of their own.
ENVIRONMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")

#: Claims and outcomes: everything that moves a job's state, in order.
RESULTS = "results"
#: Heartbeats and stages: may be lost without harm.
EVENTS = "events"
#: Several schedulers may listen to these; one at a time gets messages, in order.
COLLECTED = (RESULTS, EVENTS)
#: Messages that nobody could decode, with the reason.
PARKED = "parked"

#: The exchange through which runners report. Who may write to the default exchange reaches every queue, those
#: of other runners among them; this one leads to what the master reads, and nowhere else.
REPORTS = "reports"
REPORTED = (RESULTS, EVENTS, PARKED)


def in_environment(queue: str, environment: str) -> str:
    """The queue of the jobs of `queue` that want this environment; "" is the runner's own."""
    return f"{queue}@{environment}" if environment else queue


def parts(queue: str) -> tuple[str, str]:
    """What `in_environment` was given."""
    name, _, environment = queue.partition("@")
    return name, environment


def control(runner: str) -> str:
    """The queue that tells one runner what to stop."""
    return f"control.{runner}"


class Permissions(NamedTuple):
    """What a user of RabbitMQ may make, write to and read from: regular expressions of queues and exchanges."""

    configure: str
    write: str
    read: str


def permissions(runner: str, served: Iterable[str]) -> Permissions:
    """What the runner of this name needs: to read what it serves, in whatever environment, and its own control queue;
    and to report."""
    own = re.escape(control(runner))
    readable = "|".join([*(f"{re.escape(name)}(@{ENVIRONMENT.pattern})?" for name in served), own])
    return Permissions(configure=f"^{own}$", write=f"^{REPORTS}$", read=f"^({readable})$")
