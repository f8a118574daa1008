"""Access tokens of users: named, expiring, revocable. Only a token's hash is kept."""

import hashlib
import secrets
from datetime import timedelta
from typing import NamedTuple

from django.contrib.auth.models import User
from django.utils import timezone

from runapp.models import AccessToken

#: So that people, and scanners for leaked secrets, know one when they see it.
_PREFIX = "datarun_"
#: Days that an expired token is remembered, so that its user is told why it is refused.
_REMEMBERED = 30


class TokenRefused(Exception):
    """A token that opens nothing: unknown, revoked or expired. Its text says which."""


class NewToken(NamedTuple):
    """A token as it is made: `text` is shown this once."""

    row: AccessToken
    text: str


def create(user: User, name: str, days: int) -> NewToken:
    """A token for `user` that expires in so many days."""
    text = _PREFIX + secrets.token_urlsafe(32)
    now = timezone.now()
    AccessToken.objects.filter(user=user, expires_at__lt=now - timedelta(days=_REMEMBERED)).delete()
    row = AccessToken.objects.create(
        user=user, name=name, sha256=_hash(text), expires_at=now + timedelta(days=days)
    )
    row.refresh_from_db()  # the database's clock says when it was made
    return NewToken(row, text)


def is_ours(text: str) -> bool:
    """Whether it looks like a token that this module made."""
    return text.startswith(_PREFIX)


def find(text: str) -> AccessToken:
    """The token with this text and its user; raises `TokenRefused`."""
    row = AccessToken.objects.select_related("user").filter(sha256=_hash(text)).first()
    if row is None:
        raise TokenRefused("The token is unknown or was revoked: log in again for another one.")
    if row.expires_at <= timezone.now():
        raise TokenRefused(f"The token {row.name!r} expired on {row.expires_at:%Y-%m-%d}: log in again.")
    if not row.user.is_active:
        raise TokenRefused("The user of this token may not log in any more: ask an admin.")
    return row


def _hash(text: str) -> str:
    # 256 random bits need no slow hash.
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
