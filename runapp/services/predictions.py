"""Handing out what folds predicted, and remembering what has been asked for."""

from collections.abc import Iterable

from django.db import transaction
from django.db.models import QuerySet

from datarun.contract import predictions as contract
from datarun.contract import transfer
from datarun.contract.states import TERMINAL_STATES, JobState
from runapp.models import SubmissionFold

from .errors import BadInput


def by_ids(ids: Iterable[int]) -> QuerySet[SubmissionFold]:
    """The folds with these ids, with predictions. Finished ones are no longer new.

    A fold that has yet to run stays new: its caller has not been given anything to miss.
    """
    wanted = set(ids)
    known = set(SubmissionFold.objects.filter(pk__in=wanted).values_list("pk", flat=True))
    if unknown := sorted(wanted - known):
        named = ", ".join(map(str, unknown[:10]))
        raise BadInput("list_submission_fold", f"There are no submission folds with these ids: {named}.")
    SubmissionFold.objects.filter(pk__in=wanted, job__state__in=TERMINAL_STATES).update(new=False)
    return with_predictions(wanted)


def take_new(raw_data_id: int | None, limit: int | None = None) -> QuerySet[SubmissionFold]:
    """The tested folds that nobody asked for yet, at most `limit`, with predictions; each for one caller only."""
    folds = SubmissionFold.objects.filter(new=True, job__state=JobState.SUCCEEDED)
    if raw_data_id is not None:
        folds = folds.filter(databoard_s__raw_data_id=raw_data_id)
    with transaction.atomic():
        new = folds.order_by("pk").select_for_update(skip_locked=True, of=("self",))
        ids = list(new.values_list("pk", flat=True)[:limit])
        SubmissionFold.objects.filter(pk__in=ids).update(new=False)
    return with_predictions(ids)


def with_predictions(ids: Iterable[int]) -> QuerySet[SubmissionFold]:
    folds = SubmissionFold.objects.filter(pk__in=list(ids)).order_by("pk")
    return folds.select_related("job", "prediction")


def packed_bytes(content: bytes) -> str:
    """base64(zlib(content))."""
    return transfer.compress(content)


def packed_test(fold: SubmissionFold) -> str | None:
    """base64(zlib(float64 C-order bytes)) of what the fold predicted for the test part, or None."""
    return _packed(fold.prediction.test) if hasattr(fold, "prediction") else None


def packed_train(fold: SubmissionFold) -> str | None:
    """The same for the train part."""
    return _packed(fold.prediction.train) if hasattr(fold, "prediction") else None


def _packed(content: bytes | memoryview | None) -> str | None:
    """Numbers of any type as float64. What is ragged has no such form: that is None."""
    array = None if content is None else contract.loads(bytes(content))
    return None if array is None or array.dtype.kind == "O" else transfer.compress_array(array)
