"""The Celery app of a runner: ``celery -A datarun worker`` starts one.

Celery brings the command line, the signals, logging and the pool of threads, one a slot. Which orders are
taken when, and how, is `datarun.runner.consumer`'s, in place of Celery's own consumer. Its remote control,
gossip and mingle are off: a runner is told what to do by orders alone.
"""

import logging
from typing import Any

import click
from celery import Celery, bootsteps
from celery.signals import after_setup_logger
from kombu import Queue

from datarun import logs
from datarun.contract import queues

from .sandbox.probe import protections
from .settings import RunnerSettings

logger = logging.getLogger(__name__)

settings = RunnerSettings.read()

# No fixups: a runner has no Django, even where DJANGO_SETTINGS_MODULE is set.
app = Celery("datarun", fixups=[], set_as_current=False)
app.conf.update(
    worker_consumer="datarun.runner.consumer:Consumer",
    worker_pool="threads",
    worker_concurrency=settings.slots,
    worker_enable_remote_control=False,
    worker_hijack_root_logger=True,
    worker_redirect_stdouts=False,
    # Celery only shows it in its banner; the slots have connections of their own.
    broker_url=settings.broker_url,
    task_queues=[Queue(name, routing_key=name) for name in queues.ORDER_QUEUES],
    task_default_queue=queues.PREPARATION,
    task_create_missing_queues=False,
    accept_content=["json"],
)


def _format(logger: logging.Logger, **_: Any) -> None:
    for handler in logger.handlers:
        handler.setFormatter(logs.formatter(settings.log_format))


after_setup_logger.connect(_format)


class Sandboxed(bootsteps.Step):
    """Lets the worker start only where submissions can't get out, or are trusted."""

    def __init__(self, worker: Any, trust_submissions: bool = False, **_: Any) -> None:
        worker.unprotected = tuple(p.name for p in protections() if p.needed and not p.in_force)
        if worker.unprotected and not (trust_submissions or settings.trust_submissions):
            raise SystemExit(
                f"datarun: submissions could get out here ({', '.join(worker.unprotected)}: see datarun runner check). "
                "Start with --trust-submissions if you trust every one of them."
            )
        if worker.unprotected:
            logger.warning("submissions are trusted here; not protected: %s", ", ".join(worker.unprotected))


app.user_options["worker"].add(
    click.Option(
        ("--trust-submissions",),
        is_flag=True,
        help="Start even where this machine can't keep submissions in (datarun runner check).",
    )
)
app.steps["worker"].add(Sandboxed)
