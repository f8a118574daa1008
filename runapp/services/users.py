"""Users: the first admin."""

import secrets
from dataclasses import dataclass

from django.contrib.auth.models import User

from datarun.env import Environment


@dataclass(frozen=True)
class FirstAdmin:
    """`password` is as generated, or how to know it; it is stored as a hash only."""

    name: str
    password: str


def has_admin() -> bool:
    """Whether there is an admin."""
    return User.objects.filter(is_superuser=True).exists()


def create_first_admin(env: Environment | None = None) -> FirstAdmin | None:
    """An admin user where there is none yet: `USER_LOGIN`, `USER_PSWD`, `DR_EMAIL`, or made up."""
    if has_admin():
        return None
    env = env or Environment()
    name = env.text("USER_LOGIN", "admin")
    given = env.secret("USER_PSWD", default="")
    password = given or secrets.token_urlsafe(12)
    User.objects.create_superuser(name, env.text("DR_EMAIL", "admin@localhost"), password)
    return FirstAdmin(name, "as in USER_PSWD" if given else password)
