"""Submissions and their folds: posting, replacing."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q

from datarun.contract import queues
from datarun.contract.elements import parse_elements
from datarun.contract.failures import FailureKind
from datarun.contract.states import TERMINAL_STATES, JobKind, JobState
from runapp import states
from runapp.models import OWN_IDS, Job, PreparedData, RawData, Submission, SubmissionFold

from . import blobs, checks, fairness, raw_data, wakeup
from .errors import BadInput

FORCE_FOLD = "submission_fold"
FORCE_SUBMISSION = "submission"


@dataclass(frozen=True)
class PostedFold:
    """A fold as posted; `raw_data` and `files` come with a new submission."""

    databoard_sf_id: int
    databoard_s_id: int
    train_is: object
    test_is: object
    priority: str
    force: str
    raw_data: int | None
    files: object | None


def post_fold(owner: User | None, posted: PostedFold) -> SubmissionFold:
    """Creates a fold, with its submission if that is new; all of it or nothing.

    Everything is checked before anything is written. Rows are locked data set first, then jobs, then folds: the
    order in which preparations and outcomes are recorded too.
    """
    for field in ("databoard_s_id", "databoard_sf_id"):
        if (id := getattr(posted, field)) in OWN_IDS:
            raise BadInput(
                field, f"{id} is an id that the platform gives itself: choose one below {OWN_IDS[0]}."
            )
    force = _parse_force(posted.force)
    train_is, test_is = checks.fold_indices(posted.train_is, posted.test_is)
    contents = None if posted.files is None else checks.files(posted.files)
    try:
        with transaction.atomic():
            _lock_data_sets(posted)
            old_fold = SubmissionFold.objects.filter(pk=posted.databoard_sf_id).first()
            if old_fold is not None and FORCE_FOLD not in force:
                raise _fold_exists(posted.databoard_sf_id)
            submission = Submission.objects.filter(pk=posted.databoard_s_id).first()
            is_new = submission is None or FORCE_SUBMISSION in force
            data_set = _data_set(posted, submission, contents, is_new)
            raw_data.check_open(data_set)
            version = raw_data.current_version(data_set)
            if (rows := raw_data.train_rows_at_most(data_set, version)) is not None:
                checks.index_range(train_is, test_is, rows)
            if old_fold is not None:
                old_fold.delete()
            if is_new:
                submission = _replace(submission, owner, posted.databoard_s_id, data_set, contents)
            assert submission is not None
            fold = SubmissionFold(
                databoard_sf_id=posted.databoard_sf_id,
                databoard_s=submission,
                prepared=version,
                train_is_id=blobs.put(train_is.astype("<i8").tobytes()),
                test_is_id=blobs.put(test_is.astype("<i8").tobytes()),
                priority=posted.priority,
                max_index=int(max(train_is.max(), test_is.max())),
            )
            return _start(fold, owner, version)
    except IntegrityError as error:  # the same ids were posted to two data sets at the same time
        raise _fold_exists(posted.databoard_sf_id) from error


def _lock_data_sets(posted: PostedFold) -> None:
    concerned = (
        Q(pk=posted.raw_data)
        | Q(submission=posted.databoard_s_id)
        | Q(submission__submissionfold=posted.databoard_sf_id)
    )
    ids = set(RawData.objects.filter(concerned).values_list("pk", flat=True))
    raw_data.lock(ids)


def _parse_force(text: str) -> frozenset[str]:
    parts = frozenset(part.strip() for part in text.split(",") if part.strip())
    if parts not in (frozenset(), {FORCE_FOLD}, {FORCE_SUBMISSION, FORCE_FOLD}):
        raise BadInput(
            "force", f"{text!r} is unknown: use 'submission_fold' or 'submission, submission_fold'."
        )
    return parts


def _data_set(
    posted: PostedFold, submission: Submission | None, contents: Mapping[str, bytes] | None, is_new: bool
) -> RawData:
    """The data set of the fold; refuses what doesn't go with the submission, or what it lacks."""
    if submission is not None and not is_new:
        _check_same(submission, posted.raw_data, contents)
        return submission.raw_data
    if posted.raw_data is None or contents is None:
        missing = "raw_data" if posted.raw_data is None else "files"
        kind = "new" if submission is None else "to be replaced"
        raise BadInput(missing, f"Submission {posted.databoard_s_id} is {kind}: send its raw_data and files.")
    data_set = raw_data.find(posted.raw_data, field="raw_data")
    checks.element_files(parse_elements(data_set.workflow_elements), contents)
    return data_set


def _replace(
    old: Submission | None,
    owner: User | None,
    databoard_s_id: int,
    data_set: RawData,
    contents: Mapping[str, bytes] | None,
) -> Submission:
    if old is not None:
        old.delete()
    return Submission.objects.create(
        databoard_s_id=databoard_s_id,
        raw_data=data_set,
        files={name: blobs.put(content) for name, content in (contents or {}).items()},
        owner=owner,
    )


def _check_same(
    submission: Submission, raw_data_id: int | None, contents: Mapping[str, bytes] | None
) -> None:
    """What comes again with a further fold must be what the submission already has."""
    hint = "send force='submission, submission_fold' to replace it."
    if raw_data_id not in (None, submission.raw_data_id):
        text = f"Submission {submission.pk} is for raw data {submission.raw_data_id}: {hint}"
        raise BadInput("raw_data", text)
    if contents is not None:
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        if submission.files != hashes:
            raise BadInput("files", f"Submission {submission.pk} exists with other files: {hint}")


def _start(fold: SubmissionFold, owner: User | None, version: PreparedData | None) -> SubmissionFold:
    """Saves the fold with a job, which waits for its data if these are not prepared yet."""
    ready = version is not None and version.job.state == JobState.SUCCEEDED
    fold.job = Job.objects.create(
        kind=JobKind.FOLD,
        queue=queues.in_environment(fold.priority, fold.databoard_s.raw_data.environment),
        owner=owner,
        share=fairness.share_of(owner, fold.databoard_s),
        waits_for_data=not ready,
        databoard_sf_id=fold.pk,
    )
    fold.save(force_insert=True)
    if version is not None and not ready and version.job.state in TERMINAL_STATES:
        _fail_unprepared(fold, version)
    wakeup.scheduler()
    return fold


def _fail_unprepared(fold: SubmissionFold, version: PreparedData) -> None:
    job = Job.objects.filter(pk=fold.job_id)
    states.fail_waiting(job, FailureKind.DATA, raw_data.failure_of(version))
    fold.job.refresh_from_db()


def _fold_exists(databoard_sf_id: int) -> BadInput:
    return BadInput(
        "databoard_sf_id",
        f"SubmissionFold with this databoard_sf_id already exists ({databoard_sf_id}): "
        "send force='submission_fold' to replace it.",
    )
