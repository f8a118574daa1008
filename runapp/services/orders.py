"""What runners are told: jobs as orders."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from uuid import UUID

from django.conf import settings

from datarun.contract.elements import parse_elements
from datarun.contract.messages import Data, FoldOrder, Limits, Order, PrepareOrder
from runapp.models import Blob, Job, PreparedData, RawData, SubmissionFold

#: Bytes of a blob that comes along with an order, at most.
_ENCLOSED = 8 * 1024


def build(ids: Iterable[UUID], others: bool = False) -> list[tuple[Job, Order]]:
    """The orders for these queued jobs, in the order of the ids.

    `others`: more than one runner can take them, so a job that one has lost goes to another.
    """
    ids = list(ids)
    prepared = PreparedData.objects.filter(job__in=ids).select_related("job", "raw_data")
    # Many folds of few submissions on fewer data sets: each is read once.
    folds = SubmissionFold.objects.filter(job__in=ids).select_related("job")
    folds = folds.prefetch_related("databoard_s__raw_data", "prepared")
    small = _small(folds)
    orders: dict[UUID, tuple[Job, Order]] = {}
    orders.update((version.job_id, (version.job, _prepare(version, others))) for version in prepared)
    orders.update((fold.job_id, (fold.job, _fold(fold, others, small))) for fold in folds)
    return [orders[id] for id in ids if id in orders]


def _limits(raw_data: RawData) -> Limits:
    """The data set's own limits where they are smaller than the platform's."""
    wall = min(raw_data.time_limit or settings.FOLD_TIME_LIMIT, settings.FOLD_TIME_LIMIT)
    return Limits(
        wall=wall,
        memory=settings.FOLD_MEMORY_LIMIT,
        soft=raw_data.soft_time_limit if (raw_data.soft_time_limit or wall) < wall else None,
        cpu=settings.FOLD_CPU_LIMIT,
        disk=settings.FOLD_DISK_LIMIT,
    )


def _avoid(job: Job, others: bool) -> str:
    """The runner that lost the job last, if others can take it."""
    return job.runner if job.losses and others else ""


def _data(raw_data: RawData) -> Data:
    return Data(files=raw_data.files, target_column=raw_data.target_column, module=raw_data.module or None)


def _prepare(version: PreparedData, others: bool) -> PrepareOrder:
    return PrepareOrder(
        job=str(version.job_id),
        attempt=version.job.attempt,
        data=_data(version.raw_data),
        limits=_limits(version.raw_data),
        avoid=_avoid(version.job, others),
        held_out_test=version.held_out_test,
        random_state=version.random_state,
    )


def _small(folds: Iterable[SubmissionFold]) -> dict[str, str]:
    """The blobs of these folds that are small enough to come along with an order, base64 by sha256."""
    names = {name for fold in folds for name in _own_blobs(fold)}
    blobs = Blob.objects.filter(pk__in=names, size__lte=_ENCLOSED, content__isnull=False)
    contents = blobs.values_list("pk", "content")
    return {name: b64encode(content).decode() for name, content in contents if content is not None}


def _own_blobs(fold: SubmissionFold) -> list[str]:
    return [fold.train_is_id, *fold.databoard_s.files.values()]


def _fold(fold: SubmissionFold, others: bool, small: Mapping[str, str]) -> FoldOrder:
    raw_data, version = fold.databoard_s.raw_data, fold.prepared
    assert version is not None, "only folds of prepared data are queued"
    made = version.files
    return FoldOrder(
        job=str(fold.job_id),
        attempt=fold.job.attempt,
        data=Data(
            files=raw_data.files | made if raw_data.module else raw_data.files,
            target_column=raw_data.target_column,
            module=raw_data.module or None,
            train_rows=None if raw_data.module else made["train_rows"],
            test_rows=None if raw_data.module else made["test_rows"],
            n_train=version.n_train,
            n_test=version.n_test,
        ),
        limits=_limits(raw_data),
        avoid=_avoid(fold.job, others),
        about={"fold": fold.pk, "submission": fold.databoard_s_id},
        submission=fold.databoard_s.files,
        elements=parse_elements(raw_data.workflow_elements),
        train_is=fold.train_is_id,
        enclosed={name: small[name] for name in _own_blobs(fold) if name in small},
    )
