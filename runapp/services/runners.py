"""Runners: who they are, whether they live, and the tokens that open blobs to them."""

import hashlib
import secrets

from django.conf import settings
from django.db.models import QuerySet
from django.db.models.functions import Now

from datarun.contract.runners import DEVELOPMENT_TOKEN
from runapp import states
from runapp.models import Runner, RunnerToken

#: A runner that has not been heard of for this long is gone.
SILENCE = states.LEASE


def live() -> QuerySet[Runner]:
    """The runners that take orders."""
    return Runner.objects.filter(leaving=False, incompatible=False, last_seen__gt=Now() - SILENCE)


def state(runner: Runner) -> str:
    """live, draining, gone, or incompatible."""
    if runner.incompatible:
        return "incompatible: upgrade it"
    if not Runner.objects.filter(pk=runner.pk, last_seen__gt=Now() - SILENCE).exists():
        return "gone"
    return "draining" if runner.leaving else "live"


def new_token(name: str) -> str:
    """A token for the runner `name`, in place of an earlier one. Shown this once: only its hash is kept."""
    token = secrets.token_urlsafe(32)
    RunnerToken.objects.update_or_create(name=name, defaults={"sha256": _hash(token)})
    return token


def is_token(token: str) -> bool:
    """Whether `token` belongs to a runner. While developing, so does the well-known development token."""
    if not settings.PRODUCTION and secrets.compare_digest(token.encode(), DEVELOPMENT_TOKEN.encode()):
        return settings.DEBUG
    return RunnerToken.objects.filter(sha256=_hash(token)).exists()


def _hash(token: str) -> str:
    # 256 random bits need no slow hash.
    return hashlib.sha256(token.encode()).hexdigest()
