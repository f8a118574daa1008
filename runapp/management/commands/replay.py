"""``manage.py replay FOLD``: whether a fold gives the same once more."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from datarun.contract.states import TERMINAL_STATES
from runapp.management.people import add_user, user_named
from runapp.models import SubmissionFold
from runapp.services import records
from runapp.services.errors import BadInput

_PERIOD = 0.5  # seconds between two looks


class Command(BaseCommand):
    help = "Run the fold once more, and say whether it gave the same bits. Its own results stay as they are."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("fold", type=int)
        add_user(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        fold = SubmissionFold.objects.filter(pk=options["fold"]).first()
        if fold is None:
            raise CommandError(f"There is no fold {options['fold']}.")
        try:
            replay = records.replay(user_named(options["user"]), fold)
        except BadInput as error:
            raise CommandError(error.message) from error
        while replay.job.state not in TERMINAL_STATES:
            time.sleep(_PERIOD)
            replay.job.refresh_from_db()
        replay.refresh_from_db()
        if replay.result is None:
            raise CommandError(f"It {replay.job.state}: {replay.job.failure}: {replay.job.message}")
        self.stdout.write(replay.result["summary"])
        for score in replay.result["scores"]:
            self.stdout.write("{part} {metric}: {then} then, {now} now".format(**score))
        if not replay.result["identical"]:
            raise CommandError("Not the same.")
