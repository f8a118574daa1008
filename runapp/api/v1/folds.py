"""Folds: how they go, what they printed, what they predicted."""

import io
from typing import Any

import numpy as np
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from datarun.contract import predictions as contract
from datarun.contract.states import TERMINAL_STATES
from runapp.api.scoring import RecordOut, ReplayOut
from runapp.api.serializers import AttemptOut, NumberOut
from runapp.models import Job, LogPiece, Part, Prediction, SubmissionFold
from runapp.services import catalogue, jobs, records, reports, roles, versions
from runapp.services.errors import BadInput

from .base import View, page_of
from .described import answers
from .idempotent import KEY, idempotent
from .problems import Problem
from .shapes import FoldOut, LogOut

_ROWS = ("job", "cv_fold", "prepared__job", "databoard_s__raw_data")
_NPY, _CSV, _ARROW = "application/x-npy", "text/csv", "application/vnd.apache.arrow.stream"
_JSON = "application/json"
FORMATS = {"npy": _NPY, "csv": _CSV, "arrow": _ARROW}


class _FoldView(View):
    roles = roles.SUBMITTERS

    def fold(self, id: int) -> SubmissionFold:
        return self.one(roles.folds_for(self.user, self.their_roles).select_related(*_ROWS), "fold", pk=id)


class Fold(_FoldView):
    @extend_schema(responses=answers({200: FoldOut}, named=True, etag=True))
    def get(self, request: Request, fold: int) -> Response:
        """One fold: its state, scores, times, why it failed or waits."""
        row = self.fold(fold)
        parts = reports.parts_for(self.user, row.databoard_s.raw_data)
        if answer := self.unchanged(catalogue.fold_version(row), *parts):
            return answer
        (told,) = catalogue.folds(self.user, [row])
        return Response(FoldOut(told).data)


class FoldAttempts(_FoldView):
    @extend_schema(responses=answers({200: page_of(AttemptOut)}, named=True))
    def get(self, request: Request, fold: int) -> Response:
        """Every attempt at it: runner, times, outcome, failure kind, message, log."""
        rows = jobs.attempts(self.fold(fold).job)
        return Response({"results": AttemptOut(rows, many=True).data, "next": None, "previous": None})


class FoldLog(_FoldView):
    @extend_schema(
        parameters=[OpenApiParameter("offset", int, description="In bytes; `next` of the answer before.")],
        responses=answers({200: LogOut}, named=True, paged=True, etag=True),
    )
    def get(self, request: Request, fold: int) -> Response:
        """What it has printed from `offset` on, while it runs too."""
        job, offset = self.fold(fold).job, request.query_params.get("offset", "0")
        if not offset.isascii() or not offset.isdigit() or len(offset) > 15:
            raise BadInput("offset", "It is a number of bytes, from 0.")
        version = versions.of(Job.objects.filter(pk=job.pk), LogPiece.objects.filter(job=job))
        if answer := self.unchanged(version, int(offset)):
            return answer
        text = jobs.log(job).encode()
        start = int(offset) if int(offset) <= len(text) else 0  # it is that of another attempt
        done = job.state in TERMINAL_STATES
        return Response({"text": text[start:].decode(errors="replace"), "next": len(text), "done": done})


class FoldCancel(_FoldView):
    @extend_schema(parameters=[KEY], request=None, responses=answers({200: NumberOut}, body=True, named=True))
    @idempotent
    def post(self, request: Request, fold: int) -> Response:
        """Cancel it: at once while it waits, otherwise once its runner confirms that it is gone."""
        return Response({"jobs": jobs.cancel(SubmissionFold.objects.filter(pk=self.fold(fold).pk))})


class FoldRerun(_FoldView):
    @extend_schema(parameters=[KEY], request=None, responses=answers({200: NumberOut}, body=True, named=True))
    @idempotent
    def post(self, request: Request, fold: int) -> Response:
        """Run it again if it has ended, keeping the history of its attempts."""
        return Response({"jobs": jobs.rerun(SubmissionFold.objects.filter(pk=self.fold(fold).pk))})


class FoldRecord(_FoldView):
    @extend_schema(responses=answers({200: RecordOut}, named=True))
    def get(self, request: Request, fold: int) -> Response:
        """What its results depend on: code, data and folds by hash, and what they were computed with."""
        return Response(RecordOut(records.record(self.fold(fold))).data)


class FoldReplay(_FoldView):
    @extend_schema(responses=answers({200: page_of(ReplayOut)}, named=True))
    def get(self, request: Request, fold: int) -> Response:
        """Its replays, the latest first, and how they compare with what it gave."""
        rows = records.replays(self.fold(fold))
        return Response({"results": ReplayOut(rows, many=True).data, "next": None, "previous": None})

    @extend_schema(parameters=[KEY], request=None, responses=answers({201: ReplayOut}, body=True, named=True))
    @idempotent
    def post(self, request: Request, fold: int) -> Response:
        """Run it once more, and compare; nothing of the fold changes."""
        row = self.fold(fold)
        records.replay(self.user, row)
        return Response(ReplayOut(records.replays(row)[0]).data, status.HTTP_201_CREATED)


class FoldPredictions(_FoldView):
    @extend_schema(
        parameters=[
            OpenApiParameter("part", str, OpenApiParameter.PATH, enum=["train", "test"]),
            OpenApiParameter("format", str, enum=sorted(FORMATS), description="Or by the Accept header."),
        ],
        responses=answers(
            {
                (200, _NPY): OpenApiResponse(OpenApiTypes.BINARY),
                (200, _CSV): OpenApiResponse(OpenApiTypes.STR),
                (200, _ARROW): OpenApiResponse(OpenApiTypes.BINARY),
                (200, _JSON): OpenApiResponse(
                    OpenApiTypes.OBJECT,
                    description="Ragged ones: a list of lists of numbers, or null, for each row.",
                ),
            },
            named=True,
            paged=True,
            etag=True,
            more={406: "The format is not possible here."},
        ),
    )
    def get(self, request: Request, fold: int, part: str) -> Any:
        """What it predicted for the whole train part or test part, in the order of the rows.

        As .npy: (rows,), or (rows, columns), of a classifier a column a class. Test predictions are the organiser's
        until the data set is closed.
        """
        row, wanted = self.fold(fold), _format(request)
        if part not in (Part.TRAIN, Part.TEST):
            raise Problem(404, "not-found", f"There are predictions of train and test, not of {part!r}.")
        if Part.TEST not in reports.parts_for(self.user, row.databoard_s.raw_data) and part == Part.TEST:
            raise Problem(
                403, "forbidden", "Test predictions are the organiser's until the data set is closed."
            )
        mine = Prediction.objects.filter(pk=row.pk)
        if answer := self.unchanged(versions.of(mine), part, wanted):
            return answer
        content = mine.values_list(part, flat=True).first()
        if content is None:
            text = f"Fold {row.pk} has no predictions of {part}: it is {row.state}."
            raise Problem(404, "no-predictions", text)
        return _rendered(bytes(content), wanted)


def _format(request: Request) -> str:
    given = request.query_params.get("format")
    if given is not None:
        if given not in FORMATS:
            raise BadInput("format", f"It is one of {', '.join(FORMATS)}.")
        return given
    accepted = request.headers.get("Accept", "*/*")
    wanted = [media.partition(";")[0].strip() for media in accepted.split(",")]
    for name, media_type in FORMATS.items():
        if media_type in wanted:
            return name
    if not {"*/*", "application/*", "application/octet-stream", _JSON} & set(wanted):
        raise Problem(406, "not-acceptable", f"Accept one of {', '.join(FORMATS.values())}.")
    return "npy"


def _rendered(content: bytes, wanted: str) -> HttpResponse:
    array = contract.loads(content)
    if array.dtype.kind == "O":
        return HttpResponse(content, content_type=_JSON)
    if wanted == "npy":
        return HttpResponse(content, content_type=_NPY)
    if array.ndim > 2:
        raise Problem(406, "not-acceptable", f"They have {array.ndim} dimensions: ask for npy.")
    columns = array.reshape(len(array), -1)
    if wanted == "csv":
        text = io.StringIO()
        header = ",".join(str(number) for number in range(columns.shape[1]))
        np.savetxt(text, columns, delimiter=",", header=header, comments="", fmt="%s")
        return HttpResponse(text.getvalue(), content_type=_CSV)
    return HttpResponse(_arrow(columns), content_type=_ARROW)


def _arrow(columns: Any) -> bytes:
    try:
        import pyarrow
    except ImportError as error:
        text = "Arrow is not possible here, for the platform lacks pyarrow (pip install 'datarun[arrow]'): ask for npy."
        raise Problem(406, "not-acceptable", text) from error
    table = pyarrow.table({str(number): columns[:, number] for number in range(columns.shape[1])})
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content
