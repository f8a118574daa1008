"""``manage.py status``: runners, their tokens' hashes, and what waits, as JSON for programs."""

import json
from typing import Any

from django.core.management.base import BaseCommand
from django.db.models import Count

from runapp import states
from runapp.models import Job, RunnerToken
from runapp.services import runners


class Command(BaseCommand):
    help = "Print what runs where and what waits, as JSON."

    def handle(self, *args: Any, **options: Any) -> None:
        known: list[Any] = list(runners.known())
        differing = runners.differing(known)
        unfinished = Job.objects.filter(state__in=states.UNFINISHED).values("queue", "state")
        said = {
            "runners": [
                {
                    "name": runner.name,
                    "state": runner.state,
                    "queues": runner.queues,
                    "slots": runner.slots,
                    "runs": len(runner.runs),
                    "versions": runner.versions,
                    "differs": differing.get(runner.name, []),
                    "last_seen": runner.last_seen and runner.last_seen.isoformat(),
                }
                for runner in known
            ],
            "tokens": dict(RunnerToken.objects.values_list("name", "sha256")),
            "queues": list(unfinished.annotate(jobs=Count("pk")).order_by("queue", "state")),
        }
        self.stdout.write(json.dumps(said))
