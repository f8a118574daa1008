"""Lists of submission folds, fast at 100,000 of them: plain rows, and no prediction bytes."""

from collections.abc import Iterator
from typing import Any

from django.db.models import Q, QuerySet
from rest_framework import serializers

from datarun.contract.messages import MEASURES
from datarun.contract.states import FoldState, JobState, Stage, fold_state
from runapp.models import SubmissionFold, log_messages

from .serializers import SubmissionFoldLightOut, SubmissionFoldOut

#: In the list these are null: the detail has them.
_ONLY_IN_DETAIL = ("test_predictions", "full_train_predictions", "train_is", "test_is")
_DERIVED = {
    "state": ("job__state", "job__stage"),
    "log_messages": ("job__state", "job__stage", "job__failure", "job__message", "job__log"),
    "task_id": ("job_id",),
    **{name: (f"job__{name}",) for name in MEASURES},
}

# The first condition is also that of an index.
_UNFINISHED = Q(job__state__in=[JobState.CREATED, JobState.QUEUED, JobState.RUNNING])
_RUNNING = Q(job__state=JobState.RUNNING)
_IN_STATE = {
    FoldState.TODO: _UNFINISHED & (~_RUNNING | Q(job__stage=Stage.STARTED)),
    FoldState.TRAINED: _RUNNING & Q(job__stage=Stage.TRAINED),
    FoldState.VALIDATED: _RUNNING & Q(job__stage=Stage.VALIDATED),
    FoldState.TESTED: Q(job__state=JobState.SUCCEEDED),
    FoldState.ERROR: Q(job__state__in=[JobState.FAILED, JobState.CANCELLED]),
}


_MAX_ROWS = 2**31 - 1  # any list is shorter, and the sum of two is still a bigint


class PageIn(serializers.Serializer[Any]):
    """`limit` and `offset` of any list."""

    limit = serializers.IntegerField(min_value=1, max_value=_MAX_ROWS, default=None, allow_null=True)
    offset = serializers.IntegerField(min_value=0, max_value=_MAX_ROWS, default=0)

    def page(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        offset, limit = self.validated_data["offset"], self.validated_data["limit"]
        return rows[offset : None if limit is None else offset + limit]


class FoldFilterIn(PageIn):
    """Which folds a list shows."""

    raw_data = serializers.IntegerField(default=None, allow_null=True)
    submission = serializers.IntegerField(default=None, allow_null=True)
    state = serializers.ChoiceField(
        choices=[state.value for state in FoldState],
        default=None,
        allow_null=True,
        error_messages={"invalid_choice": f"{{input!r}} is no state: use one of {', '.join(FoldState)}."},
    )

    def folds(self) -> QuerySet[SubmissionFold]:
        given = self.validated_data
        folds = SubmissionFold.objects.all()
        if given["raw_data"] is not None:
            folds = folds.filter(databoard_s__raw_data_id=given["raw_data"])
        if given["submission"] is not None:
            folds = folds.filter(databoard_s_id=given["submission"])
        if given["state"] is not None:
            folds = folds.filter(_IN_STATE[FoldState(given["state"])])
        if given["limit"] is None:
            return self.page(folds.order_by("databoard_sf_id"))
        # First which, then what: what an offset skips costs an entry of an index, and most folds are tested.
        rare = given["state"] not in (None, FoldState.TESTED)
        page = self.page(folds.order_by("job__databoard_sf_id" if rare else "databoard_sf_id"))
        return SubmissionFold.objects.filter(pk__in=page.values("pk")).order_by("databoard_sf_id")


def light_rows(folds: QuerySet[SubmissionFold]) -> Iterator[dict[str, Any]]:
    return _rows(folds, SubmissionFoldLightOut.Meta.fields)


def full_rows(folds: QuerySet[SubmissionFold]) -> Iterator[dict[str, Any]]:
    return _rows(folds, SubmissionFoldOut.Meta.fields)


def _rows(folds: QuerySet[SubmissionFold], fields: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    columns = [
        column for field in fields if field not in _ONLY_IN_DETAIL for column in _DERIVED.get(field, (field,))
    ]
    for row in folds.values(*columns).iterator(chunk_size=5000):
        yield {field: _value(row, field) for field in fields}


def _value(row: dict[str, Any], field: str) -> Any:
    if field in _ONLY_IN_DETAIL:
        return None
    if field == "state":
        return fold_state(row["job__state"], row["job__stage"])
    if field == "log_messages":
        return log_messages(*(row[column] for column in _DERIVED["log_messages"]))
    (column,) = _DERIVED.get(field, (field,))
    return row[column]
