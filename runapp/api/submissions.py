"""Routes of whole submissions: post one, see how it fares."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from datarun.contract import queues
from datarun.contract.states import FoldState
from runapp.models import Part, Submission
from runapp.services import reports, submitting

from .folds import PageIn
from .requests import user_of, valid
from .serializers import IdOrName, PackedFiles, Text, WaitOut


class SubmissionIn(serializers.Serializer[Any]):
    raw_data = IdOrName(help_text="The data set: its id, or its name.")
    files = PackedFiles(help_text="File name → base64(zlib(bytes)).")
    name = Text(max_length=200, default="", allow_blank=True)
    priority = serializers.ChoiceField(
        choices=queues.PRIORITIES,
        default=queues.LIGHT,
        error_messages={"invalid_choice": "{input!r} is no priority: use L (light) or H (heavy)."},
    )


class SubmissionOut(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    raw_data = serializers.IntegerField(help_text="The id of the data set.")
    data_set = serializers.CharField(help_text="Its name.")
    user = serializers.CharField(allow_null=True)
    submitted_at = serializers.DateTimeField()
    files = serializers.ListField(child=serializers.CharField(), help_text="File names.")


class FailureOut(serializers.Serializer[Any]):
    kind = serializers.CharField(help_text="The failure kind.")
    message = serializers.CharField(help_text="Its first lines, and the last one.")


class FoldOut(serializers.Serializer[Any]):
    id = serializers.IntegerField(help_text="What the routes of submissionfold/ take.")
    number = serializers.IntegerField(allow_null=True, help_text="In the cross-validation, from 0.")
    state = serializers.ChoiceField(choices=[state.value for state in FoldState])
    failure = FailureOut(allow_null=True)
    waiting = WaitOut(allow_null=True)
    train_time = serializers.FloatField()
    validation_time = serializers.FloatField()
    test_time = serializers.FloatField()
    scores = serializers.DictField(
        child=serializers.DictField(child=serializers.FloatField(allow_null=True)),
        help_text="Part → metric → value; null for what is no finite number.",
    )


class TogetherOut(serializers.Serializer[Any]):
    metric = serializers.CharField()
    lower_is_better = serializers.BooleanField()
    part = serializers.ChoiceField(choices=[part.value for part in Part])
    mean = serializers.FloatField(allow_null=True, help_text="Over the folds.")
    std = serializers.FloatField(allow_null=True, help_text="The standard deviation of the population.")
    folds = serializers.IntegerField(help_text="How many folds have a score.")
    bagged = serializers.FloatField(
        allow_null=True, help_text="The score of the folds' combined predictions."
    )
    curve = serializers.ListField(
        child=serializers.FloatField(allow_null=True),
        help_text="The bagged score of the first fold, of the first two, and so on.",
    )


class BaggingOut(serializers.Serializer[Any]):
    state = serializers.CharField(help_text="The state of the job.")
    failure = FailureOut(allow_null=True)
    waiting = WaitOut(allow_null=True)


class SubmissionDetailOut(SubmissionOut):
    waiting = WaitOut(allow_null=True, help_text="Why it waits, or null.")
    failure = FailureOut(allow_null=True, help_text="Why it gets no folds, or null.")
    folds = FoldOut(many=True)
    scores = TogetherOut(many=True, help_text="The official metric first.")
    bagging = BaggingOut(allow_null=True)


class SubmissionFilterIn(PageIn):
    """Which submissions a list shows."""

    raw_data = serializers.IntegerField(default=None, allow_null=True)
    mine = serializers.BooleanField(default=False)

    def submissions(self, user: Any) -> QuerySet[Submission]:
        rows = Submission.objects.filter(whole=True).select_related("raw_data", "owner").order_by("-pk")
        if self.validated_data["raw_data"] is not None:
            rows = rows.filter(raw_data=self.validated_data["raw_data"])
        return self.page(rows.filter(owner=user) if self.validated_data["mine"] else rows)


class SubmissionList(APIView):
    @extend_schema(parameters=[SubmissionFilterIn], responses=SubmissionOut(many=True))
    def get(self, request: Request) -> Response:
        """Whole submissions, the latest first."""
        wanted = SubmissionFilterIn(data=request.query_params)
        valid(wanted)
        rows = wanted.submissions(request.user)
        return Response(SubmissionOut([reports.summary(row) for row in rows], many=True).data)

    @extend_schema(request=SubmissionIn, responses={201: SubmissionOut})
    def post(self, request: Request) -> Response:
        """Submit: a fold is made for each of the data set's cross-validation, now or once the data set is prepared.

        They are trained in parallel, scored, and bagged.
        """
        posted = submitting.PostedSubmission(**valid(SubmissionIn(data=request.data)))
        created = submitting.post(user_of(request), posted)
        return Response(SubmissionOut(reports.summary(created)).data, status=status.HTTP_201_CREATED)


class SubmissionDetail(APIView):
    @extend_schema(operation_id="runapp_submission_detail", responses=SubmissionDetailOut)
    def get(self, request: Request, pk: int) -> Response:
        """How a submission fares: each fold with its scores, all of them together, and why it waits or failed.

        Test scores are shown to the owner of the data set and to staff, and to all once the data set is closed.
        """
        row = get_object_or_404(Submission.objects.select_related("raw_data", "owner"), pk=pk)
        parts = reports.parts_for(user_of(request), row.raw_data)
        return Response(SubmissionDetailOut(reports.submission(row, parts)).data)
