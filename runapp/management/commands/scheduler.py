"""``manage.py scheduler``: runs the scheduler until SIGTERM or Ctrl-C."""

import signal
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand

from datarun.env import Environment
from runapp.scheduler.loops import Scheduler


class Command(BaseCommand):
    help = "Dispatch jobs to the runners' queues, collect what they finished, and find what was lost."

    def handle(self, *args: Any, **options: Any) -> None:
        scheduler = Scheduler(Environment().broker_url())

        def stop(signum: int, frame: FrameType | None) -> None:
            scheduler.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        scheduler.run()
