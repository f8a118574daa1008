"""Who is asking."""

import hashlib
import hmac
import os
from typing import Any

from django.contrib.auth.models import User
from django.core.cache import cache
from drf_spectacular.authentication import BasicScheme
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from runapp.services import runners

_REMEMBERED = 300  # seconds
_KEY = os.urandom(32)


class BasicAuthentication(authentication.BasicAuthentication):
    """HTTP Basic, which remembers for some minutes that a password was right.

    Clients send the password with every request, and checking one is made slow on purpose. What is kept, in
    this process's memory only, is a keyed hash that holds for the user's present password hash: a changed
    password or a deactivated user is refused at once.
    """

    def authenticate_credentials(self, userid: str, password: str, request: Any = None) -> tuple[User, None]:
        if "\0" in userid:  # PostgreSQL's text has no NUL, so nobody is named like this
            raise exceptions.AuthenticationFailed("Invalid username/password.")
        credentials = "\0".join([userid, password]).encode()
        name = "basic:" + hmac.new(_KEY, credentials, hashlib.sha256).hexdigest()
        if known := cache.get(name):
            user = User.objects.filter(username=userid, is_active=True, password=known).first()
            if user is not None:
                return user, None
        user, _ = super().authenticate_credentials(userid, password, request)
        cache.set(name, user.password, _REMEMBERED)
        return user, None


class BasicAuthenticationScheme(BasicScheme):  # type: ignore[no-untyped-call]
    """Shows `BasicAuthentication` in the API's documentation."""

    target_class = "runapp.api.authentication.BasicAuthentication"


class RunnerUser:
    """A runner that showed its token."""

    is_authenticated = True


class RunnerAuthentication(authentication.BaseAuthentication):
    """``Authorization: Bearer <runner's token>``."""

    keyword = "Bearer"

    def authenticate(self, request: Request) -> tuple[RunnerUser, None] | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != self.keyword:
            return None
        if not runners.is_token(token.strip()):
            raise exceptions.AuthenticationFailed(
                "Unknown or revoked runner token: see manage.py createrunner."
            )
        return RunnerUser(), None

    def authenticate_header(self, request: Request) -> str:
        return self.keyword
