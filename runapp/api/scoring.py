"""Routes about how a data set's submissions are judged: its metrics, whether it takes more, its leaderboard."""

from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import PermissionDenied
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from runapp.models import RawData, SubmissionFold
from runapp.services import raw_data, records, reports

from .requests import user_of, valid
from .serializers import MetricsField, RawDataOut

_NOT_YOURS = OpenApiResponse(description="Only the owner of the data set and staff may do this.")


class MetricsIn(serializers.Serializer[Any]):
    metrics = MetricsField()


class RecordOut(serializers.Serializer[Any]):
    fold = serializers.IntegerField()
    number = serializers.IntegerField(allow_null=True, help_text="In the cross-validation, from 0.")
    submission = serializers.IntegerField()
    attempt = serializers.IntegerField()
    state = serializers.CharField(help_text="Of the job.")
    code = serializers.DictField(child=serializers.CharField(), help_text="File name → sha256.")
    data_set = serializers.DictField(
        help_text="Files and what its preparation made of them, by sha256; and how it was split."
    )
    folds = serializers.DictField(child=serializers.CharField(), help_text="sha256 of int64 index arrays.")
    metrics = serializers.ListField(child=serializers.CharField())
    elements = serializers.CharField()
    limits = serializers.DictField(
        child=serializers.FloatField(allow_null=True), help_text="Seconds and bytes."
    )
    runner = serializers.CharField()
    seed = serializers.JSONField(allow_null=True, help_text="What random generators start from.")
    versions = serializers.DictField(
        child=serializers.CharField(), allow_null=True, help_text="Package → version."
    )
    python = serializers.CharField(allow_null=True)
    threads = serializers.JSONField(allow_null=True)
    cpu = serializers.CharField(allow_null=True)


class ReplayOut(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    task_id = serializers.UUIDField(help_text="The id of the job.")
    state = serializers.CharField(help_text="Of the job.")
    requested_at = serializers.DateTimeField()
    failure = serializers.CharField(help_text="The failure kind; empty where there was none.")
    message = serializers.CharField()
    result = serializers.DictField(
        allow_null=True,
        help_text="identical, comparable (equal versions, threads and CPU), predictions, scores, differences, summary.",
    )


def _own(request: Request, pk: int) -> RawData:
    """The data set, if it is the user's to change."""
    row = get_object_or_404(RawData, pk=pk)
    if not reports.is_organiser(user_of(request), row):
        raise PermissionDenied("Only the owner of the data set and staff may do this.")
    return row


class RawDataMetrics(APIView):
    @extend_schema(request=MetricsIn, responses={200: RawDataOut, 403: _NOT_YOURS})
    def post(self, request: Request, pk: int) -> Response:
        """Add metrics: they score what has been predicted already, without training anything again."""
        row = _own(request, pk)
        added = raw_data.add_metrics(row, valid(MetricsIn(data=request.data))["metrics"])
        return Response(RawDataOut(added).data)


class RawDataClose(APIView):
    @extend_schema(request=None, responses={200: RawDataOut, 403: _NOT_YOURS})
    def post(self, request: Request, pk: int) -> Response:
        """Take no more submissions, and show test scores to everybody. What has been submitted goes on."""
        raw_data.close(row := _own(request, pk))
        row.refresh_from_db()
        return Response(RawDataOut(row).data)


class RawDataOpen(APIView):
    @extend_schema(request=None, responses={200: RawDataOut, 403: _NOT_YOURS})
    def post(self, request: Request, pk: int) -> Response:
        """Take submissions again, and keep test scores to the organisers."""
        raw_data.reopen(row := _own(request, pk))
        row.refresh_from_db()
        return Response(RawDataOut(row).data)


def _fold(pk: int) -> SubmissionFold:
    folds = SubmissionFold.objects.select_related(
        "job", "prediction", "databoard_s__raw_data", "prepared", "cv_fold"
    )
    return get_object_or_404(folds, pk=pk)


class FoldRecord(APIView):
    @extend_schema(responses=RecordOut)
    def get(self, request: Request, pk: int) -> Response:
        """What the fold's results depend on: code, data and folds by hash, and what they were computed with."""
        return Response(RecordOut(records.record(_fold(pk))).data)


class FoldReplay(APIView):
    @extend_schema(responses=ReplayOut(many=True))
    def get(self, request: Request, pk: int) -> Response:
        """The fold's replays, the latest first, and how they compare with what it gave."""
        return Response(ReplayOut(records.replays(_fold(pk)), many=True).data)

    @extend_schema(request=None, responses={201: ReplayOut})
    def post(self, request: Request, pk: int) -> Response:
        """Run the fold once more, and compare predictions and scores bit by bit. Its own results stay as they are."""
        fold = _fold(pk)
        records.replay(user_of(request), fold)
        return Response(ReplayOut(records.replays(fold)[0]).data, status=status.HTTP_201_CREATED)
