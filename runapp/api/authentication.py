"""Who is asking."""

import hashlib
import hmac
import os
from typing import Any

from django.contrib.auth.models import User
from django.core.cache import cache
from drf_spectacular.authentication import BasicScheme
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from runapp.models import AccessToken
from runapp.services import runners, tokens

from .throttling import FailedLogins

_REMEMBERED = 300  # seconds
_KEY = os.urandom(32)


class BasicAuthentication(authentication.BasicAuthentication):
    """HTTP Basic, which remembers for some minutes that a password was right.

    Clients send the password with every request, and checking one is made slow on purpose. What is kept, in
    this process's memory only, is a keyed hash that holds for the user's present password hash: a changed
    password or a deactivated user is refused at once. Wrong passwords are counted, and too many refused.
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
        failed = FailedLogins(request, userid)
        failed.check()
        try:
            user, _ = super().authenticate_credentials(userid, password, request)
        except exceptions.AuthenticationFailed:
            failed.count()
            raise
        cache.set(name, user.password, _REMEMBERED)
        return user, None


class BasicAuthenticationScheme(BasicScheme):  # type: ignore[no-untyped-call]
    """Shows `BasicAuthentication` in the API's documentation."""

    target_class = "runapp.api.authentication.BasicAuthentication"


class AccessTokenAuthentication(authentication.TokenAuthentication):
    """``Authorization: Token <access token>``."""

    def authenticate_credentials(self, key: str) -> tuple[User, AccessToken]:
        try:
            token = tokens.find(key)
        except tokens.TokenRefused as error:
            raise exceptions.AuthenticationFailed(str(error)) from error
        return token.user, token


class TokenAuthentication(AccessTokenAuthentication):
    """The same, or with a token of Django REST framework's, which older clients of ``/runapp/`` have."""

    def authenticate_credentials(self, key: str) -> Any:
        if tokens.is_ours(key):
            return super().authenticate_credentials(key)
        return authentication.TokenAuthentication.authenticate_credentials(self, key)


class AccessTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Shows `AccessTokenAuthentication` in the API's documentation."""

    target_class = "runapp.api.authentication.AccessTokenAuthentication"
    name = "accessToken"
    priority = 1

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        said = "Token <access token>, as POST /api/v1/tokens/ makes it."
        return {"type": "apiKey", "in": "header", "name": "Authorization", "description": said}


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
