"""``manage.py createadmin``: the first admin, whose password is read from standard input."""

import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from datarun.env import Environment
from runapp.services import users


class Command(BaseCommand):
    help = "Create an admin where there is none yet; the password is the first line of standard input."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", default="admin")
        parser.add_argument("--email", default="")
        parser.add_argument(
            "--check", action="store_true", help="only say whether there is one, by the exit code"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["check"]:
            if not users.has_admin():
                raise CommandError("There is no admin yet.")
            return
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise CommandError("The password is empty: give it on standard input.")
        given = {"USER_LOGIN": options["name"], "USER_PSWD": password, "DR_EMAIL": options["email"]}
        made = users.create_first_admin(Environment(dict(os.environ) | given))
        self.stdout.write(f"Created the admin {made.name}." if made else "There is an admin already.")
