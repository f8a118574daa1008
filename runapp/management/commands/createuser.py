"""``manage.py createuser NAME EMAIL PASSWORD``: an organiser, who may post data and submissions."""

from typing import Any

from django.contrib.auth.models import Group, User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError, transaction

ORGANISERS = "organisers"


class Command(BaseCommand):
    help = "Create an organiser given name, email and password."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user_name")
        parser.add_argument("user_email")
        parser.add_argument("user_password")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["user_name"]
        try:
            with transaction.atomic():
                user = User.objects.create_user(name, options["user_email"], options["user_password"])
                user.groups.add(Group.objects.get_or_create(name=ORGANISERS)[0])
        except IntegrityError as error:
            raise CommandError(f"There is a user {name!r} already: choose another name.") from error
        except ValueError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Created the organiser {name}.")
