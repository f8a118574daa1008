"""``manage.py submit FOLDER --data-set NAME``: a whole submission, and how it fares."""

import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from datarun.contract import queues
from runapp.management.people import add_user, user_named
from runapp.models import Part, Submission
from runapp.services import checks, raw_data, reports, submitting
from runapp.services.errors import BadInput

_PERIOD = 0.5  # seconds between two looks


class Command(BaseCommand):
    help = "Submit the files of FOLDER to the data set NAME."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--data-set", required=True)
        parser.add_argument("--name", help="what to call it; its folder's name, if it isn't given")
        parser.add_argument("--priority", choices=queues.PRIORITIES, default=queues.LIGHT)
        parser.add_argument(
            "--wait", action="store_true", help="until all folds have ended, and show their scores"
        )
        add_user(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"]
        if not folder.is_dir():
            raise CommandError(f"There is no folder {folder}.")
        contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
        try:
            submission = submitting.submit(
                user_named(options["user"]),
                raw_data.find_by_name(options["data_set"]),
                checks.checked(contents),
                options["name"] or folder.resolve().name,
                options["priority"],
            )
        except BadInput as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"Submitted {submission.name} (id {submission.pk}).")
        if options["wait"]:
            self._wait(submission)

    def _wait(self, submission: Submission) -> None:
        said = ""
        while True:
            submission.refresh_from_db()
            shown = reports.submission(submission, list(Part))
            if (text := _progress(shown)) != said:
                self.stdout.write(text)
                said = text
            if shown["failure"] or (shown["folds"] and all(_has_ended(fold) for fold in shown["folds"])):
                break
            time.sleep(_PERIOD)
        for line in _results(shown):
            self.stdout.write(line)
        if shown["failure"] or any(fold["failure"] for fold in shown["folds"]):
            raise CommandError("Not every fold succeeded.")


def _has_ended(fold: dict[str, Any]) -> bool:
    return fold["state"] in ("TESTED", "ERROR")


def _progress(shown: dict[str, Any]) -> str:
    ended = sum(map(_has_ended, shown["folds"]))
    waits = f" {shown['waiting'].why}" if shown["waiting"] else ""
    return f"{ended} of {len(shown['folds'])} folds have ended.{waits}"


def _results(shown: dict[str, Any]) -> list[str]:
    """A line a fold and a line a metric and part; failures with their first lines."""
    lines = []
    if failure := shown["failure"]:
        lines.append(f"{failure['kind']}: {failure['message']}")
    for fold in shown["folds"]:
        scores = [
            f"{part} {metric} {value}" for part, of in fold["scores"].items() for metric, value in of.items()
        ]
        lines.append(f"fold {fold['number']}: {fold['state']} {', '.join(scores)}".rstrip())
        if failure := fold["failure"]:
            lines.append(f"{failure['kind']}: {failure['message']}")
    lines += [f"{row['part']} {row['metric']}: {row['mean']} ± {row['std']}" for row in shown["scores"]]
    return lines
