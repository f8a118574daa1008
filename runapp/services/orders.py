"""What runners are told: jobs as orders."""

import dataclasses
import hashlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from uuid import UUID

from django.conf import settings

from datarun.contract.elements import parse_elements
from datarun.contract.messages import (
    Data,
    EnsembleOrder,
    FoldOrder,
    FoldRows,
    Limits,
    Order,
    Predicted,
    PrepareOrder,
)
from runapp.models import Blob, Ensemble, Job, Prediction, PreparedData, RawData, Replay, SubmissionFold

from . import blobs, cross_validation, ensembles

#: Bytes of a blob that comes along with an order, at most, and of all that come with one.
_ENCLOSED = 8 * 1024
_ALL_ENCLOSED = 1024 * 1024
_READ = 50  # predictions read at a time


def build(ids: Iterable[UUID], others: bool = False) -> list[tuple[Job, Order]]:
    """The orders for these queued jobs, in the order of the ids.

    `others`: more than one runner can take them, so a job that one has lost goes to another.
    """
    ids = list(ids)
    folds = SubmissionFold.objects.filter(job__in=ids).select_related(
        "job", "databoard_s__raw_data", "prepared"
    )
    small = _small(folds)
    orders: dict[UUID, tuple[Job, Order]] = {
        fold.job_id: (fold.job, _fold(fold, fold.job, others, small)) for fold in folds
    }
    if left := [id for id in ids if id not in orders]:
        orders.update(_rare(left, others))
    return [orders[id] for id in ids if id in orders]


def _rare(ids: list[UUID], others: bool) -> Iterator[tuple[UUID, tuple[Job, Order]]]:
    """The orders for what is not a fold's own."""
    for version in PreparedData.objects.filter(job__in=ids).select_related("job", "raw_data"):
        yield version.job_id, (version.job, _prepare(version, others))
    for ensemble in ensembles.taken(ids):
        assert ensemble.job is not None
        if folds := ensembles.folds_of(ensemble):  # none: its job has just been cancelled
            yield ensemble.job.pk, (ensemble.job, _ensemble(ensemble, ensemble.job, folds, others))
    replays = Replay.objects.filter(job__in=ids).select_related(
        "job", "fold__databoard_s__raw_data", "fold__prepared"
    )
    small = _small([replay.fold for replay in replays])
    for replay in replays:
        yield replay.job_id, (replay.job, _fold(replay.fold, replay.job, others, small))


def limits(raw_data: RawData) -> Limits:
    """What a job of the data set may use: its own limits where they are smaller than the platform's."""
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
    """A data set as posted."""
    return Data(
        files=raw_data.files,
        target_column=raw_data.target_column,
        module=raw_data.module or None,
        kit=raw_data.kit,
        data_label=raw_data.data_label or None,
        environment=raw_data.environment,
    )


def _prepared_data(version: PreparedData) -> Data:
    """A data set with what its preparation made."""
    raw_data, made = version.raw_data, version.files
    return dataclasses.replace(
        _data(raw_data),
        files=raw_data.files | made if raw_data.module else raw_data.files,
        train_rows=None if raw_data.module else made["train_rows"],
        test_rows=None if raw_data.module else made["test_rows"],
        n_train=version.n_train,
        n_test=version.n_test,
    )


def _prepare(version: PreparedData, others: bool) -> PrepareOrder:
    return PrepareOrder(
        job=str(version.job_id),
        attempt=version.job.attempt,
        data=_data(version.raw_data),
        limits=limits(version.raw_data),
        avoid=_avoid(version.job, others),
        held_out_test=version.held_out_test,
        random_state=version.random_state,
        elements=parse_elements(version.raw_data.workflow_elements),
        cv=cross_validation.order(version.raw_data),
        # A kit's own, which an earlier preparation told: this one finds out again.
        metrics=() if version.raw_data.kit else tuple(version.raw_data.metrics),
    )


def _small(folds: Iterable[SubmissionFold]) -> dict[str, str]:
    """The blobs of these folds that are small enough to come along with an order, base64 by sha256."""
    names = {name for fold in folds for name in _own_blobs(fold)}
    blobs = Blob.objects.filter(pk__in=names, size__lte=_ENCLOSED, content__isnull=False)
    contents = blobs.values_list("pk", "content")
    return {name: b64encode(content).decode() for name, content in contents if content is not None}


def _own_blobs(fold: SubmissionFold) -> list[str]:
    scored = [fold.test_is_id] if fold.databoard_s.raw_data.metrics else []
    return [fold.train_is_id, *scored, *fold.databoard_s.files.values()]


def _fold(fold: SubmissionFold, job: Job, others: bool, small: Mapping[str, str]) -> FoldOrder:
    raw_data, version = fold.databoard_s.raw_data, fold.prepared
    assert version is not None, "only folds of prepared data are queued"
    version.raw_data = raw_data
    return FoldOrder(
        job=str(job.pk),
        attempt=job.attempt,
        data=_prepared_data(version),
        limits=limits(raw_data),
        avoid=_avoid(job, others),
        about={"fold": fold.pk, "submission": fold.databoard_s_id},
        submission=fold.databoard_s.files,
        elements=parse_elements(raw_data.workflow_elements),
        train_is=fold.train_is_id,
        test_is=fold.test_is_id if raw_data.metrics else None,
        metrics=tuple(raw_data.metrics),
        enclosed={name: small[name] for name in _own_blobs(fold) if name in small},
    )


def _ensemble(ensemble: Ensemble, job: Job, folds: list[SubmissionFold], others: bool) -> EnsembleOrder:
    raw_data = ensemble.raw_data
    version = folds[0].prepared
    assert version is not None, "only folds of prepared data have run"
    version.raw_data = raw_data
    cut = {fold.number: FoldRows(fold.train_is_id, fold.test_is_id) for fold in version.cv_folds.all()}
    predicted, enclosed = _predicted(folds)
    return EnsembleOrder(
        job=str(job.pk),
        attempt=job.attempt,
        data=_prepared_data(version),
        limits=limits(raw_data),
        avoid=_avoid(job, others),
        metrics=tuple(raw_data.metrics),
        folds=tuple(rows for _, rows in sorted(cut.items())),
        predicted=tuple(predicted),
        blend=ensemble.submission_id is None,
        enclosed=enclosed,
    )


def _predicted(folds: list[SubmissionFold]) -> tuple[list[Predicted], dict[str, str]]:
    """What these folds have predicted, and what of that comes along, base64 by sha256: the rest are blobs."""
    numbers = {
        fold.pk: (fold.databoard_s_id, fold.cv_fold.number) for fold in folds if fold.cv_fold is not None
    }
    names: dict[int, list[str]] = {}
    enclosed: dict[str, str] = {}
    room = _ALL_ENCLOSED
    for start in range(0, len(numbers), _READ):
        some = list(numbers)[start : start + _READ]
        large: list[tuple[int, list[bytes]]] = []
        for row in Prediction.objects.filter(pk__in=some):
            parts = [bytes(part) for part in (row.train, row.test) if part is not None]
            size = sum(map(len, parts))
            if row.train is None:
                continue
            if size > room or max(map(len, parts)) > _ENCLOSED:
                large.append((row.pk, parts))
                continue
            room -= size
            names[row.pk] = [hashlib.sha256(part).hexdigest() for part in parts]
            enclosed |= zip(names[row.pk], (b64encode(part).decode() for part in parts), strict=True)
        stored = iter(blobs.put_all(part for _, parts in large for part in parts))
        names |= {fold: [next(stored) for _ in parts] for fold, parts in large}
    return [Predicted(*numbers[fold], *names[fold]) for fold in numbers if fold in names], enclosed
