"""``manage.py createrunner NAME``: a token for one runner."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from runapp.services import runners


class Command(BaseCommand):
    help = "Print a new token for the runner NAME (its DR_RUNNER_TOKEN); an earlier one stops working."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(runners.new_token(options["name"]))
