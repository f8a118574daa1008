"""A request that is sent again, because its answer got lost, is answered as it was the first time."""

from datetime import timedelta

from django.contrib.auth.models import User
from django.db.models.functions import Now

from runapp.models import IdempotencyKey

#: How long an answer is kept.
KEPT = timedelta(days=2)


class OtherRequest(Exception):
    """The key was used before, for another request."""


def begin(user: User, key: str, fingerprint: str) -> IdempotencyKey:
    """The key's row, locked; its `status` is None if the request has yet to be done.

    In the transaction that does it: meanwhile the same request waits, and if that fails nothing is remembered.
    """
    new = IdempotencyKey(user=user, key=key, fingerprint=fingerprint)
    IdempotencyKey.objects.bulk_create([new], ignore_conflicts=True)
    row = IdempotencyKey.objects.select_for_update().get(user=user, key=key)
    if row.fingerprint != fingerprint:
        raise OtherRequest
    return row


def clean(most: int) -> int:
    """Forgets old keys, some at a time; returns how many."""
    old = IdempotencyKey.objects.filter(created_at__lt=Now() - KEPT).values("pk")[:most]
    return IdempotencyKey.objects.filter(pk__in=old).delete()[0]
