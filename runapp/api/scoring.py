"""Routes about how a data set's submissions are judged: its metrics, whether it takes more, its leaderboard."""

from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from runapp.models import RawData
from runapp.services import raw_data, reports

from .requests import user_of, valid
from .serializers import MetricsField, RawDataOut

_NOT_YOURS = OpenApiResponse(description="Only the owner of the data set and staff may do this.")


class MetricsIn(serializers.Serializer[Any]):
    metrics = MetricsField()


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
