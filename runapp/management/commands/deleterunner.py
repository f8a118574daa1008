"""``manage.py deleterunner NAME``: its token is revoked, and it is no longer listed."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from runapp.services import runners


class Command(BaseCommand):
    help = "Revoke the token of the runner NAME, and take it off the list of runners."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        runners.delete(options["name"])
