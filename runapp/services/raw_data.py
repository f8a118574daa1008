"""Data sets: posting one, and preparing its train and test part."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from datarun.contract import queues
from datarun.contract.elements import parse_elements
from datarun.contract.failures import FailureKind
from datarun.contract.messages import Outcome
from datarun.contract.metrics import SCORE_TYPES, Task, nearest
from datarun.contract.states import TERMINAL_STATES, JobKind, JobState
from runapp import states
from runapp.models import Job, PreparedData, RawData, Submission, SubmissionFold

from . import checks, contents, cross_validation, ensembles, environments, fairness, wakeup
from .contents import Contents
from .errors import BadInput

NAME_TAKEN = "RawData with this name already exists."
_MOST_NAMES = 1000  # among which a name like a wrong one is looked for


@dataclass(frozen=True)
class PostedRawData:
    """A data set as posted."""

    name: str
    target_column: str
    workflow_elements: str
    files: object
    cv: object = None
    metrics: object = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    environment: str = ""


def create(owner: User | None, posted: PostedRawData) -> RawData:
    """Stores a data set: one csv, or any files of which one `.py` is the custom module."""
    packed = checks.unpacked(posted.files)
    return keep(owner, posted, {name: contents.of_bytes(content) for name, content in packed.items()})


@transaction.atomic
def keep(owner: User | None, posted: PostedRawData, files: Contents) -> RawData:
    """The same, of these files instead of those in `posted`."""
    if not files:
        raise BadInput("files", "Send at least one file.")
    for file in files:
        checks.file_name(file)
    checks.python_sources(files)
    if RawData.objects.filter(name=posted.name).exists():
        raise BadInput("name", NAME_TAKEN)
    modules = [file for file in files if file.endswith(".py")]
    if len(modules) > 1:
        raise BadInput("files", f"{', '.join(modules)}: only one of the files can be the custom module.")
    if not modules and len(files) > 1:
        raise BadInput("files", "Several files need a Python module (.py) that reads them: add one.")
    elements = checks.workflow_elements(posted.workflow_elements, custom=bool(modules))
    if posted.time_limit and posted.soft_time_limit and posted.soft_time_limit >= posted.time_limit:
        raise BadInput(
            "soft_time_limit", "It must be smaller than time_limit: the time between is for finishing."
        )
    max_rows, columns = None, None
    if not modules:
        ((file, content),) = files.items()
        max_rows, columns = checks.csv_file(file, content, posted.target_column)
    metrics = cross_validation.parse_metrics(posted.metrics, _task(elements, custom=bool(modules)))
    cv = cross_validation.parse_cv(posted.cv, max_rows, columns)
    if (cv is None) != (not metrics):
        field, missing = ("metrics", "cv") if cv is None else ("cv", "metrics")
        raise BadInput(missing, f"There is {field} without {missing}: send both, or neither.")
    try:
        with transaction.atomic():
            return RawData.objects.create(
                name=posted.name,
                target_column=posted.target_column,
                workflow_elements=posted.workflow_elements,
                files=contents.store(files),
                module=modules[0] if modules else "",
                max_rows=max_rows,
                cv=cv,
                metrics=metrics,
                time_limit=posted.time_limit,
                soft_time_limit=posted.soft_time_limit,
                environment=environments.checked(posted.environment),
                owner=owner,
            )
    except IntegrityError as error:  # somebody else took the name meanwhile
        raise BadInput("name", NAME_TAKEN) from error


def _task(elements: Collection[str], custom: bool) -> Task | None:
    """What the data set asks to be predicted; None where only its module knows."""
    if custom:
        return None
    return Task.REGRESSION if "regressor" in elements else Task.CLASSIFICATION


def split(owner: User | None, raw_data_id: int, held_out_test: float, random_state: int) -> PreparedData:
    """Prepares a csv data set: a shuffled split into train and test part."""
    raw_data = find(raw_data_id)
    if raw_data.module:
        raise BadInput(
            "raw_data_id", f"{raw_data} has a custom module, which does the split: use rawdata/customsplit/."
        )
    if raw_data.cv is not None and raw_data.max_rows is not None:
        rows = _train_rows(raw_data.max_rows, held_out_test)
        cross_validation.check_rows(raw_data.cv, rows, "held_out_test")
    return _prepare(owner, raw_data, held_out_test=held_out_test, random_state=random_state)


def custom_split(owner: User | None, raw_data_id: int) -> PreparedData:
    """Prepares a data set with its custom module's `prepare_data`."""
    raw_data = find(raw_data_id)
    if not raw_data.module:
        raise BadInput("raw_data_id", f"{raw_data} is a csv without a custom module: use rawdata/split/.")
    return _prepare(owner, raw_data, held_out_test=None, random_state=None)


def lock(ids: Collection[int]) -> None:
    """Of one data set, folds are posted and preparations recorded one after the other, until the transaction ends.

    Rows that refer to the data set can be written meanwhile.
    """
    list(RawData.objects.filter(pk__in=ids).order_by("pk").select_for_update(no_key=True).values("pk"))


def find(raw_data_id: int, field: str = "raw_data_id") -> RawData:
    raw_data = RawData.objects.filter(pk=raw_data_id).first()
    if raw_data is None:
        raise BadInput(field, f"There is no raw data with id {raw_data_id}.")
    return raw_data


def find_by_name(name: str, field: str = "raw_data") -> RawData:
    raw_data = RawData.objects.filter(name=name).first()
    if raw_data is None:
        near = nearest(name, RawData.objects.order_by("-pk").values_list("name", flat=True)[:_MOST_NAMES])
        raise BadInput(field, f"There is no raw data {name!r}{near}")
    return raw_data


def check_open(raw_data: RawData, field: str = "raw_data") -> None:
    """Raises `BadInput` unless it takes submissions."""
    if raw_data.closed_at is not None:
        raise BadInput(field, f"{raw_data} is closed since {raw_data.closed_at:%Y-%m-%d %H:%M} UTC.")


def close(raw_data: RawData) -> None:
    """It takes no submissions any more, and everybody sees its test scores. What has been submitted goes on."""
    RawData.objects.filter(pk=raw_data.pk, closed_at=None).update(closed_at=Now())


def reopen(raw_data: RawData) -> None:
    """It takes submissions again."""
    RawData.objects.filter(pk=raw_data.pk).update(closed_at=None)


@transaction.atomic
def add_metrics(raw_data: RawData, posted: object) -> RawData:
    """Further metrics, behind those that it has: what has been predicted is scored by them, without training."""
    lock([raw_data.pk])
    raw_data.refresh_from_db()
    if not raw_data.metrics:
        has = "it is not prepared yet" if raw_data.kit else "it was posted without cv and metrics"
        raise BadInput("metrics", f"{raw_data} takes no metrics: {has}.")
    task = _task(parse_elements(raw_data.workflow_elements), custom=bool(raw_data.module))
    added = cross_validation.parse_metrics(posted, task)
    if raw_data.kit and (other := next((name for name in added if name not in SCORE_TYPES), None)):
        raise BadInput("metrics", f"A kit takes score types of ramp-workflow{nearest(other, SCORE_TYPES)}")
    if not added:
        raise BadInput("metrics", "Name at least one metric.")
    if known := [name for name in added if name in raw_data.metrics]:
        raise BadInput("metrics", f"{raw_data} has {known[0]!r} already.")
    raw_data.metrics += added
    raw_data.save(update_fields=["metrics"])
    ensembles.want_baggings_of(raw_data)
    return raw_data


def current_version(raw_data: RawData) -> PreparedData | None:
    """The version that new folds run on: the one asked for last."""
    return raw_data.versions.select_related("job").order_by("-requested_at").first()


def train_rows_at_most(raw_data: RawData, version: PreparedData | None) -> int | None:
    """How many rows the train part has; before it is prepared, how many it can have at most."""
    if version is not None and version.n_train is not None:
        return version.n_train
    if raw_data.max_rows is None or version is None or version.held_out_test is None:
        return raw_data.max_rows
    return _train_rows(raw_data.max_rows, version.held_out_test)


def _train_rows(rows: int, held_out_test: float) -> int:
    return rows - math.ceil(rows * held_out_test)  # scikit-learn rounds the test part up


@transaction.atomic
def _prepare(owner: User | None, raw_data: RawData, **parameters: Any) -> PreparedData:
    # One preparation of a data set is decided at a time.
    lock([raw_data.pk])
    version = raw_data.versions.select_related("job").filter(**parameters).first()
    cut = SubmissionFold.objects.filter(databoard_s__raw_data=raw_data, cv_fold__isnull=False)
    if version is None and cut.exists():
        raise BadInput(
            "raw_data_id",
            f"{raw_data} is split, and submissions have folds of it: post it again for another split.",
        )
    if version is None:
        job = Job.objects.create(
            kind=JobKind.PREPARE,
            queue=queues.in_environment(queues.PREPARATION, raw_data.environment),
            owner=owner,
            share=fairness.share_of(owner),
        )
        version = PreparedData.objects.create(raw_data=raw_data, job=job, **parameters)
    elif version.job.state in (JobState.FAILED, JobState.CANCELLED):
        states.rerun(Job.objects.filter(pk=version.job_id))
    PreparedData.objects.filter(pk=version.pk).update(requested_at=Now())
    _pin_waiting_folds(raw_data, version)
    wakeup.scheduler()
    return version


def _pin_waiting_folds(raw_data: RawData, version: PreparedData) -> None:
    """Folds that were posted before any split run on this one."""
    folds = SubmissionFold.objects.filter(databoard_s__raw_data=raw_data, prepared=None)
    pinned = folds.update(prepared=version)
    unmade = Submission.objects.filter(raw_data=raw_data, folds_made=False)
    if (pinned or unmade.exists()) and version.job.state in TERMINAL_STATES:
        settle(version)


def prepared_by(job: str | UUID) -> PreparedData | None:
    """What this preparation prepares, if it is one, with the lock of its data set.

    Folds are posted and run again under the same lock: none slips between an outcome and its consequences.
    """
    version = PreparedData.objects.select_related("raw_data").filter(job_id=job).first()
    if version is not None:
        lock([version.raw_data_id])
    return version


def record(version: PreparedData, outcome: Outcome) -> None:
    """What its preparation gave, which has been checked. The caller holds the lock of the data set."""
    files = {name: blob for name, blob in outcome.blobs.items() if not name.startswith("cv/")}
    rows = {name: outcome.counts[name] for name in ("n_train", "n_test")}
    PreparedData.objects.filter(pk=version.pk).update(files=files, **rows)
    cross_validation.record(version, outcome)


def settle(version: PreparedData, jobs: Collection[UUID] | None = None) -> None:
    """If the version's job has ended, the folds that wait for it may start, or fail with its reason.

    All of them, or those of these jobs. Whole submissions that wait get their folds. The caller holds the lock of the
    data set.
    """
    version.refresh_from_db()
    waiting = Job.objects.filter(
        submissionfold__prepared=version, state=JobState.CREATED, waits_for_data=True
    )
    if jobs is not None:
        waiting = waiting.filter(pk__in=jobs)
    if version.job.state == JobState.SUCCEEDED:
        assert version.n_train is not None
        outside = waiting.filter(submissionfold__max_index__gte=version.n_train)
        for job in outside.select_related("submissionfold"):
            problem = checks.index_range_problem(job.submissionfold.max_index, version.n_train)
            states.fail_waiting(Job.objects.filter(pk=job.pk), FailureKind.DATA, problem)
        states.release(waiting)
        if cross_validation.is_cut(version.raw_data) and version == current_version(version.raw_data):
            cross_validation.make_folds(version)
    elif version.job.state in TERMINAL_STATES:
        states.fail_waiting(waiting, FailureKind.DATA, failure_of(version))


def failure_of(version: PreparedData) -> str:
    return f"The data set {version.raw_data} could not be prepared.\n{version.job.message}"
