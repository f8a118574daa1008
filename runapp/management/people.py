"""What commands share that act for a user."""

from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser


def add_user(parser: CommandParser) -> None:
    parser.add_argument("--user", help="for whom; the first admin, if nobody is named")


def user_named(name: str | None) -> User | None:
    """The user with this name; without one the first admin, if there is any."""
    if name is None:
        return User.objects.filter(is_superuser=True).order_by("pk").first()
    user = User.objects.filter(username=name).first()
    if user is None:
        raise CommandError(f"There is no user {name!r}: manage.py createuser makes one.")
    return user
