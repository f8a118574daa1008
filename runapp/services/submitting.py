"""Whole submissions: files in, folds of the data set's cross-validation made, in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction

from datarun.contract import queues
from datarun.contract.failures import FailureKind
from datarun.contract.states import TERMINAL_STATES, JobState
from runapp.models import RawData, Submission

from . import blobs, checks, cross_validation, jobs, raw_data, waiting, wakeup
from .errors import BadInput
from .waiting import Waiting

_LONGEST = 200  # characters of a name


@dataclass(frozen=True)
class PostedSubmission:
    """A submission as posted; the data set by id or by name."""

    raw_data: int | str
    files: object
    name: str = ""
    priority: str = queues.LIGHT


def post(owner: User | None, posted: PostedSubmission) -> Submission:
    """Posts a whole submission: its folds are those of its data set's cross-validation.

    They are made now, all in one transaction, or once the data set is prepared.
    """
    return submit(owner, _find(posted.raw_data), checks.files(posted.files), posted.name, posted.priority)


@transaction.atomic
def submit(
    owner: User | None,
    data_set: RawData,
    contents: Mapping[str, bytes],
    name: str = "",
    priority: str = queues.LIGHT,
) -> Submission:
    """The same, of files that have been checked."""
    raw_data.lock([data_set.pk])
    data_set.refresh_from_db()
    raw_data.check_open(data_set)
    if not cross_validation.is_cut(data_set):
        raise BadInput(
            "raw_data",
            f"{data_set} has no cv: post folds to submissionfold/, or post it again with cv and metrics.",
        )
    if problem := cross_validation.missing_elements(data_set, contents):
        raise BadInput("files", problem)
    (id,) = cross_validation.new_ids("runapp_submission_ids", 1)
    submission = Submission.objects.create(
        databoard_s_id=id,
        raw_data=data_set,
        name=name[:_LONGEST] or f"submission {id}",
        files=dict(zip(contents, blobs.put_all(contents.values()), strict=True)),
        whole=True,
        folds_made=False,
        priority=priority,
        owner=owner,
    )
    _make_folds(data_set)
    submission.refresh_from_db()
    return submission


def _find(name: int | str) -> RawData:
    return raw_data.find(name, "raw_data") if isinstance(name, int) else raw_data.find_by_name(name)


def _make_folds(data_set: RawData) -> None:
    """Of those that wait for them, if the data set, which is locked, is prepared."""
    version = raw_data.current_version(data_set)
    if version is not None and version.job.state == JobState.SUCCEEDED:
        cross_validation.make_folds(version)
        wakeup.scheduler()


@transaction.atomic
def cancel(submission: Submission) -> int:
    """Ends the jobs of its folds; one that waits for its folds gets none. Returns how many jobs this concerned."""
    raw_data.lock([submission.raw_data_id])
    Submission.objects.filter(pk=submission.pk, folds_made=False).update(folds_made=True)
    return jobs.cancel(submission.submissionfold_set.all())


@transaction.atomic
def rerun(submission: Submission, failed_only: bool = False) -> int:
    """Runs its finished folds again, or only those that failed; makes those that it was cancelled before it got."""
    raw_data.lock([submission.raw_data_id])
    folds = submission.submissionfold_set.all()
    if submission.whole and not folds.exists():
        Submission.objects.filter(pk=submission.pk).update(folds_made=False)
        _make_folds(submission.raw_data)
        return folds.count()
    return jobs.rerun(folds, failed_only=failed_only)


def failure_of(submission: Submission) -> tuple[str, str] | None:
    """Why a submission that has no folds won't get any: failure kind and message; or None."""
    if not submission.whole or submission.submissionfold_set.exists():
        return None
    if submission.folds_made:
        return "", "It was cancelled before its folds were made: run it again."
    version = raw_data.current_version(submission.raw_data)
    if version is None or version.job.state not in TERMINAL_STATES or version.job.state == JobState.SUCCEEDED:
        return None
    return FailureKind.DATA, raw_data.failure_of(version)


def waits_for(submission: Submission) -> Waiting | None:
    """Why the submission waits, or None when it does not."""
    if submission.folds_made:
        return jobs.waiting_of(submission)
    return None if failure_of(submission) else waiting.for_data(raw_data.current_version(submission.raw_data))
