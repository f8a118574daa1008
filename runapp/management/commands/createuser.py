"""``manage.py createuser NAME EMAIL PASSWORD``: an organiser, or somebody with another role."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError, transaction

from runapp.services import roles
from runapp.services.roles import Role


class Command(BaseCommand):
    help = "Create a user given name, email and password: an organiser, unless --role says otherwise."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user_name")
        parser.add_argument("user_email")
        parser.add_argument("user_password")
        parser.add_argument("--role", choices=[role.value for role in Role], default=Role.ORGANISER.value)

    def handle(self, *args: Any, **options: Any) -> None:
        name, role = options["user_name"], Role(options["role"])
        try:
            with transaction.atomic():
                user = User.objects.create_user(name, options["user_email"], options["user_password"])
                roles.give(user, role)
        except IntegrityError as error:
            raise CommandError(f"There is a user {name!r} already: choose another name.") from error
        except ValueError as error:
            raise CommandError(str(error)) from error

        self.stdout.write(f"Created the {role} {name}.")
