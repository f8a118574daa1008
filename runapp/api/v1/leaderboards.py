"""The leaderboard of a data set. Who is no organiser of it is not told why others' submissions failed."""

from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from runapp.models import Ensemble, Job, RawData, Submission, SubmissionScore
from runapp.services import leaderboard, reports, versions
from runapp.services.errors import BadInput
from runapp.services.leaderboard import Wanted

from .base import limit_of
from .datasets import DATASET, DatasetView
from .described import LIST, answers
from .shapes import OfFold, Shape, Together


class TestedOut(Shape):
    done = serializers.IntegerField()
    failed = serializers.IntegerField(help_text="Cancelled ones too.")
    total = serializers.IntegerField()


class LeaderboardRowOut(Shape):
    rank = serializers.IntegerField(allow_null=True, help_text="Null for what is not complete: see why.")
    id = serializers.IntegerField()
    name = serializers.CharField()
    user = serializers.CharField(allow_null=True)
    scores = Together(help_text="part → metric → mean, std and bagged, of the parts that you may see.")
    contributivity = serializers.FloatField(allow_null=True)
    folds = TestedOut()
    train_time = serializers.FloatField(allow_null=True, help_text="Seconds, the mean of its folds.")
    test_time = serializers.FloatField(allow_null=True)
    why = serializers.CharField(allow_null=True, help_text="Why it has no rank.")
    created_at = serializers.DateTimeField()


class LeaderboardPageOut(Shape):
    results = LeaderboardRowOut(many=True)
    next = serializers.URLField(allow_null=True, help_text="Of the next page.")
    previous = serializers.URLField(allow_null=True)
    blended = OfFold(help_text="part → metric → value: what the best of all submissions score together.")


class Leaderboard(DatasetView):
    @extend_schema(
        parameters=[
            DATASET,
            *LIST,
            OpenApiParameter("user", str, description="Their submissions only, the latest first."),
            OpenApiParameter("format", str, enum=["json", "csv"]),
        ],
        responses=answers(
            {
                (200, "application/json"): LeaderboardPageOut,
                (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, description="All rows."),
            },
            named=True,
            paged=True,
            etag=True,
        ),
    )
    def get(self, request: Request, dataset: str) -> Any:
        """Submissions by the official metric on the validation rows, the best first; equal scores share a rank."""
        row, query = self.data_set(dataset), request.query_params
        parts = reports.parts_for(self.user, row)
        start, limit = _start(query.get("cursor", "0")), limit_of(request)
        wanted_format = _format(request)
        user = query.get("user") or None
        if user is not None and "\0" in user:
            raise BadInput("user", "It has a NUL character.")
        if answer := self.unchanged(_version(row), parts, start, limit, wanted_format, user, self.user.pk):
            return answer
        if wanted_format == "csv":
            board = leaderboard.read(row, Wanted(parts, user=user))
            leaderboard.hide_failures(self.user, row, board["submissions"])
            return HttpResponse(leaderboard.as_csv(board), content_type="text/csv; charset=utf-8")
        board = leaderboard.read(row, Wanted(parts, limit + 1, start, user))
        leaderboard.hide_failures(self.user, row, board["submissions"])
        rows, more = board["submissions"][:limit], board["submissions"][limit:]
        here = request.build_absolute_uri()
        back = max(0, start - limit)
        return Response(
            {
                "results": LeaderboardRowOut([_told(each) for each in rows], many=True).data,
                "next": replace_query_param(here, "cursor", str(start + limit)) if more else None,
                "previous": replace_query_param(here, "cursor", str(back)) if start else None,
                "blended": board["blended"],
            }
        )


def _told(row: dict[str, Any]) -> dict[str, Any]:
    scores: dict[str, dict[str, Any]] = {}
    for metric, parts in row["scores"].items():
        for part, values in parts.items():
            scores.setdefault(part, {})[metric] = values
    folds = {"done": row["done"], "failed": row["failed"], "total": row["folds"]}
    return row | {"scores": scores, "folds": folds, "created_at": row["submitted_at"]}


def _version(row: RawData) -> str:
    """Changes with the submissions, their folds' jobs and scores."""
    return versions.of(
        RawData.objects.filter(pk=row.pk),
        Submission.objects.filter(raw_data=row),
        Job.objects.filter(submissionfold__databoard_s__raw_data=row),
        SubmissionScore.objects.filter(submission__raw_data=row),
        Ensemble.objects.filter(raw_data=row, submission=None),
    )


def _start(cursor: str) -> int:
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 9:
        raise BadInput("cursor", "It is no cursor: take it from `next` or `previous` of an answer.")
    return int(cursor)


def _format(request: Request) -> str:
    given = request.query_params.get("format")
    if given is None:
        return "csv" if request.headers.get("Accept", "").startswith("text/csv") else "json"
    if given not in ("json", "csv"):
        raise BadInput("format", "It is json or csv.")
    return given
