"""Data sets: posting, changing, closing them, and their leaderboards."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from runapp.api.requests import valid
from runapp.models import RawData
from runapp.services import catalogue, kits, raw_data, roles
from runapp.services.contents import Contents
from runapp.services.errors import BadInput
from runapp.services.raw_data import PostedRawData

from . import bodies
from .base import View, boolean, page_of, text
from .described import LIST, answers
from .idempotent import KEY, idempotent
from .shapes import DatasetForm, DatasetOut, DatasetPatch, NewDataset

_ROWS = RawData.objects.select_related("owner")
DATASET = OpenApiParameter("dataset", str, OpenApiParameter.PATH, description="Name or id.")


class DatasetView(View):
    """Of one data set, by name or id. Everybody sees it; only its organiser, or an admin, decides on it."""

    def data_set(self, named: str) -> RawData:
        row = catalogue.named(named).select_related("owner").first()
        if row is None:
            raise NotFound(f"There is no data set {named!r}.")
        return row

    def own_data_set(self, named: str) -> RawData:
        row = self.data_set(named)
        if not roles.organised_by(self.user, self.their_roles).filter(pk=row.pk).exists():
            raise PermissionDenied(f"The data set {row} is not yours.")
        return row

    def shown(self, row: RawData, status: int = 200, **headers: str) -> Response:
        (told,) = catalogue.data_sets([row])
        return Response(DatasetOut(told).data, status, headers=headers)


class Datasets(View):
    writers = roles.ORGANISERS
    parser_classes = bodies.PARSERS

    @extend_schema(
        operation_id="datasets_list",
        parameters=[
            *LIST,
            OpenApiParameter("search", str, description="A part of the name."),
            OpenApiParameter("owner", str, description="A user name."),
            OpenApiParameter("closed", bool),
        ],
        responses=answers({200: page_of(DatasetOut)}, paged=True),
    )
    def get(self, request: Request) -> Response:
        """All data sets, the latest first."""
        return self.page(self._filtered(request.query_params), DatasetOut, "-id", shown=catalogue.data_sets)

    @extend_schema(
        parameters=[KEY],
        request={"application/json": NewDataset, "multipart/form-data": DatasetForm},
        responses=answers({201: DatasetOut}, body=True),
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Post a data set, which is prepared at once: a csv is split, a module's `prepare_data` called, a kit read.

        Its file is the csv; the module with its files, or a zip of them; or a zip of the RAMP kit's folder.
        """
        given = valid(NewDataset(data=bodies.fields(request)))
        row = self._kit(given) if given["kind"] == "kit" else self._data(given)
        (told,) = catalogue.data_sets([row])
        place = f"{request.path}{row.pk}/"
        return Response(DatasetOut(told).data, status.HTTP_201_CREATED, headers={"Location": place})

    def _kit(self, given: Mapping[str, Any]) -> RawData:
        """What else there is to say of it, its `problem.py` says."""
        files = bodies.plain_files(self.request, self.user, given)
        if len(files) != 1:
            raise BadInput("files", "A kit is one zip file of its folder.")
        (packed,) = files.values()
        with kits.opened(packed) as kit, transaction.atomic():
            row = kits.create(self.user, given["name"], kit, given["data_label"], given["submissions"])
            _set_limits(row, given["limits"])
        return row

    def _data(self, given: Mapping[str, Any]) -> RawData:
        with _files(self, self.request, given) as files, transaction.atomic():
            return self._kept(given, files)

    def _kept(self, given: Mapping[str, Any], files: Contents) -> RawData:
        posted = PostedRawData(
            name=given["name"],
            target_column=given["target_column"],
            workflow_elements=", ".join(given["elements"]),
            files=None,
            cv=given["cv"],
            metrics=given["metrics"] or None,
            time_limit=given["time_limit"],
            soft_time_limit=given["soft_time_limit"],
        )
        row = raw_data.keep(self.user, posted, files)
        _set_limits(row, given["limits"])
        if given["kind"] == "csv":
            raw_data.split(self.user, row.pk, given["held_out_test"], given["random_state"])
        else:
            raw_data.custom_split(self.user, row.pk)
        return row

    def _filtered(self, query: Mapping[str, str]) -> QuerySet[RawData]:
        rows = _ROWS
        if search := query.get("search"):
            rows = rows.filter(name__icontains=text("search", search))
        if owner := query.get("owner"):
            rows = rows.filter(owner__username=text("owner", owner))
        if (closed := query.get("closed")) is not None:
            rows = rows.filter(closed_at__isnull=not boolean("closed", closed))
        return rows


class Dataset(DatasetView):
    writers = roles.ORGANISERS

    @extend_schema(parameters=[DATASET], responses=answers({200: DatasetOut}, named=True, etag=True))
    def get(self, request: Request, dataset: str) -> Response:
        """One data set."""
        row = self.data_set(dataset)
        return self.unchanged(catalogue.data_set_version(row)) or self.shown(row)

    @extend_schema(
        parameters=[DATASET],
        request=DatasetPatch,
        responses=answers({200: DatasetOut}, body=True, named=True),
    )
    def patch(self, request: Request, dataset: str) -> Response:
        """Change its limits, or add metrics: what has been predicted is scored by them, without training."""
        row = self.own_data_set(dataset)
        given = valid(DatasetPatch(data=request.data))
        with transaction.atomic():
            if "limits" in given:
                _set_limits(row, given["limits"])
            if new := [name for name in given.get("metrics", []) if name not in row.metrics]:
                raw_data.add_metrics(row, new)
        row.refresh_from_db()
        return self.shown(row)

    @extend_schema(parameters=[DATASET], request=None, responses=answers({204: None}, named=True))
    def delete(self, request: Request, dataset: str) -> Response:
        """Delete it with all that was submitted to it."""
        with transaction.atomic():
            self.own_data_set(dataset).delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


class Close(DatasetView):
    roles = roles.ORGANISERS

    @extend_schema(
        parameters=[DATASET, KEY], request=None, responses=answers({200: DatasetOut}, body=True, named=True)
    )
    @idempotent
    def post(self, request: Request, dataset: str) -> Response:
        """It takes no submissions any more, and shows test scores to everybody."""
        row = self.own_data_set(dataset)
        raw_data.close(row)
        row.refresh_from_db()
        return self.shown(row)


class Open(DatasetView):
    roles = roles.ORGANISERS

    @extend_schema(
        parameters=[DATASET, KEY], request=None, responses=answers({200: DatasetOut}, body=True, named=True)
    )
    @idempotent
    def post(self, request: Request, dataset: str) -> Response:
        """It takes submissions again."""
        row = self.own_data_set(dataset)
        raw_data.reopen(row)
        row.refresh_from_db()
        return self.shown(row)


@contextmanager
def _files(view: View, request: Request, given: Mapping[str, Any]) -> Iterator[Contents]:
    if given["kind"] == "csv":
        files = bodies.plain_files(request, view.user, given)
        if len(files) != 1 or next(iter(files)).endswith(".py"):
            raise BadInput("files", "A csv is one file: use kind 'custom' for a module with its files.")
        (content,) = files.values()
        name = given["file_name"] or (f"{given['name']}.csv" if given["upload"] else next(iter(files)))
        yield {name.replace("/", "_"): content}
        return
    with bodies.files(request, view.user, given, settings.MAX_FILE) as files:
        if not any(name.endswith(".py") for name in files):
            raise BadInput("files", "There is no Python module (.py) that reads the others: use kind 'csv'?")
        yield files


def _set_limits(row: RawData, limits: Mapping[str, Any]) -> None:
    row.limits = {name: value for name, value in (row.limits | dict(limits)).items() if value is not None}
    RawData.objects.filter(pk=row.pk).update(limits=row.limits)
