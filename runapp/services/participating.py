"""Submitting as participants do: within the limits of the data set, and no code twice."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from datarun.contract.failures import RETRIED, FailureKind
from datarun.contract.states import JobState
from runapp import states
from runapp.models import RawData, Submission, SubmissionFold

from . import checks, raw_data, submitting
from .contents import Contents
from .errors import BadInput

_DAY = timedelta(days=1)
#: Submissions with such a failure don't count: their submitter could do nothing about it.
_NOT_THEIRS = [*RETRIED, FailureKind.DATA]


class Duplicate(Exception):
    """The user has submitted the same files to the same data set before."""

    def __init__(self, first: Submission) -> None:
        super().__init__(f"You have submitted the same code before, as submission {first.pk}.")
        self.first = first


class OverLimit(Exception):
    """More than the data set allows; `until` is when it is possible again, None where that can't be told."""

    def __init__(self, text: str, until: datetime | None) -> None:
        super().__init__(text)
        self.until = until

    @property
    def seconds(self) -> int:
        """To wait, at least 1."""
        if self.until is None:
            return 60
        return max(1, round((self.until - timezone.now()).total_seconds()))


@dataclass(frozen=True)
class Posted:
    name: str
    priority: str
    #: The same code once more.
    force: bool = False


def most_bytes(data_set: RawData) -> int:
    """What a submission's files may have together."""
    most: int = min(data_set.limits.get("bytes", settings.MAX_SUBMISSION), settings.MAX_SUBMISSION)
    return most


@transaction.atomic
def submit(user: User, data_set: RawData, files: Contents, posted: Posted) -> Submission:
    """A whole submission. Raises `BadInput`, `Duplicate`, `OverLimit`."""
    if not files:
        raise BadInput("files", "Send at least one file.")
    if (size := sum(content.size for content in files.values())) > (most := most_bytes(data_set)):
        raise BadInput("files", f"They have {size} bytes: at most {most} are possible.")
    contents = checks.checked({name: content.read() for name, content in files.items()})
    raw_data.lock([data_set.pk])
    theirs = Submission.objects.filter(owner=user, raw_data=data_set, whole=True)
    hashes = {name: content.sha256() for name, content in files.items()}
    if not posted.force and (first := theirs.filter(files=hashes).order_by("pk").first()) is not None:
        raise Duplicate(first)
    if data_set.owner_id != user.pk and not user.is_staff:
        _check_limits(user, data_set)
    return submitting.submit(user, data_set, contents, posted.name, posted.priority)


def _check_limits(user: User, data_set: RawData) -> None:
    if (most := data_set.limits.get("submissions_per_day")) is not None:
        made = list(
            _counted(user, data_set).order_by("-created_at").values_list("created_at", flat=True)[:most]
        )
        if len(made) >= most:
            until = made[-1] + _DAY if made else None
            again = f": possible again at {until:%Y-%m-%d %H:%M} UTC" if until else ""
            raise OverLimit(f"{data_set} takes {most} submissions of a user a day{again}.", until)
    if (most := data_set.limits.get("folds")) is not None:
        folds = SubmissionFold.objects.filter(databoard_s__owner=user, databoard_s__raw_data=data_set)
        if folds.filter(job__state__in=states.UNFINISHED).count() >= most:
            raise OverLimit(
                f"{data_set} takes a submission while fewer than {most} of your folds wait or run: "
                "possible again once some have ended.",
                None,
            )


def _counted(user: User, data_set: RawData) -> QuerySet[Submission]:
    """Their submissions of the last day, without those that failed through no fault of theirs."""
    unlucky = SubmissionFold.objects.filter(
        databoard_s__owner=user, job__state=JobState.FAILED, job__failure__in=_NOT_THEIRS
    )
    recent = Submission.objects.filter(owner=user, raw_data=data_set, created_at__gt=timezone.now() - _DAY)
    return recent.exclude(pk__in=unlucky.values("databoard_s"))
