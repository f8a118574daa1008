"""The leaderboard of a data set, as JSON and as csv."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.generics import get_object_or_404
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from runapp.models import RawData
from runapp.services import leaderboard, reports

from .folds import PageIn
from .requests import user_of, valid
from .submissions import SubmissionOut

_PAGE = 100  # rows, where nobody says how many


class MetricOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    lower_is_better = serializers.BooleanField()


def _numbers() -> serializers.DictField:
    return serializers.DictField(child=serializers.FloatField(allow_null=True))


class RowOut(SubmissionOut):
    rank = serializers.IntegerField(
        allow_null=True, help_text="From 1; equal scores share one. Null for what is not complete: see why."
    )
    mean = serializers.FloatField(
        allow_null=True, help_text="The official metric on the validation rows, over the folds."
    )
    std = serializers.FloatField(allow_null=True)
    bagged = serializers.FloatField(allow_null=True)
    scores = serializers.DictField(
        child=serializers.DictField(child=_numbers()), help_text="Metric → part → mean, std, bagged."
    )
    contributivity = serializers.FloatField(
        allow_null=True, help_text="Its share of the blended submissions."
    )
    folds = serializers.IntegerField()
    done = serializers.IntegerField(help_text="Folds that were tested.")
    failed = serializers.IntegerField()
    train_time = serializers.FloatField(allow_null=True, help_text="Seconds, the mean of its folds.")
    test_time = serializers.FloatField(allow_null=True)
    why = serializers.CharField(allow_null=True, help_text="Why it has no rank.")


class LeaderboardOut(serializers.Serializer[Any]):
    id = serializers.IntegerField(help_text="Of the data set.")
    name = serializers.CharField()
    closed_at = serializers.DateTimeField(allow_null=True)
    official = serializers.CharField(help_text="The metric that ranks.")
    metrics = MetricOut(many=True)
    count = serializers.IntegerField(help_text="Of all rows, of which this is a page.")
    blended = serializers.DictField(
        child=_numbers(), help_text="Of the best submissions together: part → metric → score."
    )
    submissions = RowOut(many=True)


class LeaderboardIn(PageIn):
    mine = serializers.BooleanField(default=False, help_text="One's own submissions, the latest first.")
    user = serializers.CharField(default=None, allow_null=True, help_text="The same of this user.")


class CsvRenderer(BaseRenderer):
    media_type = "text/csv"
    format = "csv"
    charset = "utf-8"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> str | bytes:
        """One line a submission; what is no leaderboard, an error, stays JSON."""
        return leaderboard.as_csv(data) if "submissions" in data else JSONRenderer().render(data)


class Leaderboard(APIView):
    renderer_classes = (JSONRenderer, CsvRenderer)

    @extend_schema(
        parameters=[LeaderboardIn, OpenApiParameter("format", str, enum=["json", "csv"])],
        responses={
            (200, "application/json"): LeaderboardOut,
            (200, "text/csv"): OpenApiResponse(str, description="One line a submission, all of them."),
        },
    )
    def get(self, request: Request, pk: int) -> Response:
        """Submissions by the official metric on the validation rows, the best first; equal scores share a rank.

        What has failed or is not complete comes last, with the reason. Test scores are shown to the owner of the
        data set and to staff, and to all once the data set is closed.
        """
        given = valid(LeaderboardIn(data=request.query_params))
        row = get_object_or_404(RawData, pk=pk)
        whole = request.accepted_renderer.format == CsvRenderer.format
        wanted = leaderboard.Wanted(
            parts=reports.parts_for(user_of(request), row),
            limit=given["limit"] or (None if whole else _PAGE),
            offset=given["offset"],
            user=request.user.username if given["mine"] else given["user"],
        )
        return Response(LeaderboardOut(leaderboard.read(row, wanted)).data)
