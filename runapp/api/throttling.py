"""How often one may guess a password, and submit. Counted in the database: every web process knows of all."""

from typing import Any

from django.conf import settings
from django.core.cache import caches
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle


class _Throttle(SimpleRateThrottle):
    number: str
    # What the base class reads from the rate.
    num_requests: int
    duration: int

    def __init__(self) -> None:
        self.cache = caches["shared"]
        super().__init__()

    def get_rate(self) -> str:
        return f"{getattr(settings, self.number)}/min"


class FailedLogins(_Throttle):
    """Wrong passwords, by address and user name: who guesses does not lock others out."""

    scope, number = "login", "FAILED_LOGINS_A_MINUTE"

    def __init__(self, request: Any, name: str) -> None:
        super().__init__()
        address = self.get_ident(request)
        self.key = f"login:{address}:{name.encode(errors='backslashreplace').hex()[:150]}"

    def check(self) -> None:
        """Raises `Throttled` if there were too many."""
        self.now = self.timer()
        kept = self.cache.get(self.key, [])
        self.history = [moment for moment in kept if moment > self.now - self.duration]
        if len(self.history) >= self.num_requests:
            raise Throttled(self.wait())

    def count(self) -> None:
        """One more, after `check`."""
        self.cache.set(self.key, [self.now, *self.history], self.duration)


class SubmitThrottle(_Throttle):
    """By user."""

    scope, number = "submit", "SUBMITS_A_MINUTE"

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        return f"submit:{request.user.pk}" if request.method == "POST" else None
