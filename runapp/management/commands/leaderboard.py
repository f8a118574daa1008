"""``manage.py leaderboard NAME``: who is best on a data set."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from runapp.models import Part
from runapp.services import leaderboard, raw_data
from runapp.services.errors import BadInput

_COLUMNS = ("rank", "name", "user", "mean", "std", "bagged", "contributivity", "train_time", "done", "failed")


class Command(BaseCommand):
    help = "Show the leaderboard of the data set NAME: the official metric on the validation rows."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--csv", action="store_true", help="all columns, with every digit")
        parser.add_argument("--private", action="store_true", help="with the scores on the test part")
        parser.add_argument("--user", help="only this user's submissions, the latest first")
        parser.add_argument("--limit", type=int, help="show so many rows at most")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            data_set = raw_data.find_by_name(options["name"])
        except BadInput as error:
            raise CommandError(error.message) from error
        shows_test = options["private"] or data_set.closed_at is not None
        parts = [part for part in Part if part != Part.TEST or shows_test]
        wanted = leaderboard.Wanted(parts, options["limit"], user=options["user"])
        board = leaderboard.read(data_set, wanted)
        if options["csv"]:
            self.stdout.write(leaderboard.as_csv(board), ending="")
            return
        self.stdout.write(f"{board['name']}: {board['official']}, {board['count']} submissions")
        for line in _table(board, parts):
            self.stdout.write(line)


def _table(board: dict[str, Any], parts: list[Part]) -> list[str]:
    """Aligned columns, then a line for each that has no rank."""
    tests = Part.TEST in parts
    rows = [[*_COLUMNS, *(["test"] if tests else [])]]
    for row in board["submissions"]:
        test = row["scores"].get(board["official"], {}).get(Part.TEST, {}).get("mean")
        rows.append([*(_cell(row[name]) for name in _COLUMNS), *([_cell(test)] if tests else [])])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return lines + [f"{row['name']}: {row['why']}" for row in board["submissions"] if row["why"]]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
