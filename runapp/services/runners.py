"""Runners: who they are, whether they live, what they run, and the tokens that open blobs to them."""

import hashlib
import secrets
from collections import Counter
from collections.abc import Iterable

from django.conf import settings
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Case, OuterRef, QuerySet, Value, When
from django.db.models.functions import JSONObject, Now

from datarun.contract.runners import DEVELOPMENT_TOKEN
from datarun.contract.states import JobState
from runapp import states
from runapp.models import Job, Runner, RunnerToken

#: A runner that has not been heard of for this long is gone.
SILENCE = states.LEASE


#: What a runner's state can be.
LIVE, DRAINING, GONE, INCOMPATIBLE = "live", "draining", "gone", "incompatible: upgrade it"

_STATE = Case(
    When(last_seen__gt=Now() - SILENCE, incompatible=True, then=Value(INCOMPATIBLE)),
    When(last_seen__gt=Now() - SILENCE, leaving=True, then=Value(DRAINING)),
    When(last_seen__gt=Now() - SILENCE, then=Value(LIVE)),
    default=Value(GONE),
)


def known() -> QuerySet[Runner]:
    """All runners, by name, each with its `state` and what it `runs`: task, and ids of fold and submission."""
    jobs = running([OuterRef("pk")]).order_by("started_at", "pk")
    about = JSONObject(
        task_id="pk",
        kind="kind",
        databoard_sf_id="submissionfold__pk",
        databoard_s="submissionfold__databoard_s",
    )
    return Runner.objects.annotate(state=_STATE, runs=ArraySubquery(jobs.values(about=about))).order_by(
        "name"
    )


def live() -> QuerySet[Runner]:
    """The runners that take orders."""
    return Runner.objects.filter(last_seen__gt=Now() - SILENCE, incompatible=False, leaving=False)


def state(runner: Runner) -> str:
    """Its state now."""
    return str(Runner.objects.annotate(state=_STATE).values_list("state", flat=True).get(pk=runner.pk))


def serving(queue: str) -> list[Runner]:
    """The live runners that take orders from the queue."""
    return [runner for runner in live() if queue in runner.queues]


def running(names: Iterable[str | OuterRef]) -> QuerySet[Job]:
    """The jobs that run on these runners, as far as they have said so."""
    return Job.objects.filter(state=JobState.RUNNING, runner__in=list(names))


def new_token(name: str) -> str:
    """A token for the runner `name`, in place of an earlier one. Shown this once: only its hash is kept."""
    token = secrets.token_urlsafe(32)
    RunnerToken.objects.update_or_create(name=name, defaults={"sha256": _hash(token)})
    return token


def delete(name: str) -> None:
    """Revokes the runner's token, and forgets the runner. What it runs is lost to it, and runs elsewhere."""
    RunnerToken.objects.filter(name=name).delete()
    Runner.objects.filter(name=name).delete()


def differing(known: Iterable[Runner]) -> dict[str, list[str]]:
    """Which versions of a live runner are not those of most live runners, by its name. `known` is from `known()`."""
    versions = {runner.name: runner.versions for runner in known if getattr(runner, "state", "") == LIVE}
    packages = {package for of_one in versions.values() for package in of_one}
    usual = {
        package: Counter(of_one.get(package) for of_one in versions.values()).most_common(1)[0][0]
        for package in packages
    }
    found = {
        name: sorted(package for package in packages if of_one.get(package) != usual[package])
        for name, of_one in versions.items()
    }
    return {name: different for name, different in found.items() if different}


def is_token(token: str) -> bool:
    """Whether `token` belongs to a runner. While developing, so does the well-known development token."""
    if not settings.PRODUCTION and secrets.compare_digest(token.encode(), DEVELOPMENT_TOKEN.encode()):
        return settings.DEBUG
    return RunnerToken.objects.filter(sha256=_hash(token)).exists()


def _hash(token: str) -> str:
    # 256 random bits need no slow hash.
    return hashlib.sha256(token.encode()).hexdigest()
