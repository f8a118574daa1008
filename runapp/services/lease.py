"""Which of several schedulers works: a row with an end, which its holder pushes on and others take once it is past.

An advisory lock would be held as long as its holder's connection is open, even by a process that is stopped.
"""

from datetime import timedelta

from django.db.models import Q
from django.db.models.functions import Now

from runapp.models import SchedulerLease

#: A holder that has not pushed its lease on for this long has lost it.
LENGTH = timedelta(seconds=8)
_ONLY = 1  # there is one lease


def hold(scheduler: str) -> bool:
    """Takes or renews the lease; returns whether `scheduler` holds it now."""
    renewed = SchedulerLease.objects.filter(Q(holder=scheduler) | Q(until__lt=Now()), pk=_ONLY).update(
        holder=scheduler, until=Now() + LENGTH
    )
    if renewed:
        return True
    if SchedulerLease.objects.filter(pk=_ONLY).exists():
        return False
    lease = SchedulerLease(pk=_ONLY, holder=scheduler, until=Now() + LENGTH)
    SchedulerLease.objects.bulk_create([lease], ignore_conflicts=True)
    return SchedulerLease.objects.filter(pk=_ONLY, holder=scheduler).exists()


def is_held() -> bool:
    """Whether any scheduler works now."""
    return SchedulerLease.objects.filter(pk=_ONLY, until__gte=Now()).exists()


def release(scheduler: str) -> None:
    """Gives the lease up at once."""
    SchedulerLease.objects.filter(pk=_ONLY, holder=scheduler).delete()
