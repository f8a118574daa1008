"""``manage.py post_kit FOLDER|ZIP --name NAME``: a RAMP starting kit as a data set."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from runapp.management.people import add_user, user_named
from runapp.services import kits
from runapp.services.errors import BadInput


class Command(BaseCommand):
    help = "Post a RAMP starting kit, a folder or a zip file, as the data set NAME. It is prepared at once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kit", type=Path)
        parser.add_argument("--name", required=True)
        parser.add_argument("--data-label", default="", help="which of its data to read, if it has several")
        parser.add_argument("--environment", default="", help="the runners' environment that it wants")
        parser.add_argument("--submissions", action="store_true", help="submit those of its submissions/ too")
        add_user(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["kit"]
        if not path.exists():
            raise CommandError(f"There is no {path}.")
        try:
            owner = user_named(options["user"])
            with kits.opened_path(path) as kit:
                created = kits.create(
                    owner,
                    options["name"],
                    kit,
                    options["data_label"],
                    options["submissions"],
                    options["environment"],
                )
        except BadInput as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"Posted data set {created.name} (id {created.pk}); it is being prepared.")
        for submission in created.submission_set.order_by("pk"):
            self.stdout.write(f"Submitted {submission.name} (id {submission.pk}).")
