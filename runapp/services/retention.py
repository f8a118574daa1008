"""What is not kept for ever: logs of jobs that ended long ago, records of dropped messages, and what
clients left half-done.
"""

from datetime import timedelta

from django.conf import settings
from django.db.models.functions import Now

from runapp import states
from runapp.models import Attempt, Dropped, Job, LogPiece

from . import idempotency, uploads

_BATCH = 5000


def clean() -> int:
    """Removes what is older than `DR_RETENTION_DAYS`, some thousand rows at a time; returns how many rows."""
    before = Now() - timedelta(days=settings.RETENTION_DAYS)
    old_logs = Job.objects.filter(finished_at__lt=before).exclude(log="").values("pk")[:_BATCH]
    number = Job.objects.filter(pk__in=old_logs).update(log="")
    number += Attempt.objects.filter(
        pk__in=Attempt.objects.filter(ended_at__lt=before).values("pk")[:_BATCH]
    ).delete()[0]
    number += Dropped.objects.filter(
        pk__in=Dropped.objects.filter(at__lt=before).values("pk")[:_BATCH]
    ).delete()[0]
    number += uploads.clean(_BATCH) + idempotency.clean(_BATCH)
    left = LogPiece.objects.exclude(job__state__in=states.UNFINISHED).values("pk")[:_BATCH]
    return number + LogPiece.objects.filter(pk__in=left).delete()[0]
