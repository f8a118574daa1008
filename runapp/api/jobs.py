"""Routes about jobs and who runs them: cancel, run again, why they wait, what became of each attempt; runners."""

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from runapp.models import RawData, Submission, SubmissionFold
from runapp.services import jobs, runners, submitting

from .folds import PageIn
from .serializers import AttemptOut, LogOut, NumberOut, RerunIn, RunnerOut, WaitingOut


def _fold(pk: int) -> SubmissionFold:
    return get_object_or_404(SubmissionFold.objects.select_related("job", "prepared__job"), pk=pk)


def _number(number: int) -> Response:
    return Response(NumberOut({"jobs": number}).data)


def _failed_only(request: Request) -> bool:
    given: serializers.Serializer[object] = RerunIn(data=request.data)
    given.is_valid(raise_exception=True)
    return bool(given.validated_data["failed_only"])


class FoldCancel(APIView):
    @extend_schema(request=None, responses=NumberOut)
    def post(self, request: Request, pk: int) -> Response:
        """Cancel a fold. A waiting one ends at once; a running one when its runner confirms that it is gone."""
        return _number(jobs.cancel(SubmissionFold.objects.filter(pk=_fold(pk).pk)))


class FoldRerun(APIView):
    @extend_schema(request=None, responses=NumberOut)
    def post(self, request: Request, pk: int) -> Response:
        """Run a finished fold again, keeping the history of its attempts."""
        return _number(jobs.rerun(SubmissionFold.objects.filter(pk=_fold(pk).pk)))


class FoldAttempts(APIView):
    @extend_schema(responses=AttemptOut(many=True))
    def get(self, request: Request, pk: int) -> Response:
        """Every attempt at a fold: runner, times, outcome, failure kind, message, log."""
        return Response(AttemptOut(jobs.attempts(_fold(pk).job), many=True).data)


class FoldLog(APIView):
    @extend_schema(responses=LogOut)
    def get(self, request: Request, pk: int) -> Response:
        """What the fold has printed, while it runs too."""
        return Response(LogOut({"log": jobs.log(_fold(pk).job)}).data)


class SubmissionCancel(APIView):
    @extend_schema(request=None, responses=NumberOut)
    def post(self, request: Request, pk: int) -> Response:
        """Cancel all folds of a submission."""
        return _number(submitting.cancel(get_object_or_404(Submission, pk=pk)))


class SubmissionRerun(APIView):
    @extend_schema(request=RerunIn, responses=NumberOut)
    def post(self, request: Request, pk: int) -> Response:
        """Run the finished folds of a submission again, or only those that failed."""
        submission = get_object_or_404(Submission, pk=pk)
        return _number(submitting.rerun(submission, failed_only=_failed_only(request)))


class SubmissionWaiting(APIView):
    @extend_schema(responses={200: WaitingOut, 404: OpenApiResponse(description="No such submission.")})
    def get(self, request: Request, pk: int) -> Response:
        """Why a submission waits: the reason of the fold that is next, or null when none waits."""
        return Response(
            WaitingOut({"waiting": submitting.waits_for(get_object_or_404(Submission, pk=pk))}).data
        )


class RawDataCancel(APIView):
    @extend_schema(request=None, responses=NumberOut)
    def post(self, request: Request, pk: int) -> Response:
        """Cancel the preparation of a data set. Folds that wait for it then fail; to try it again, split again."""
        return _number(jobs.cancel_preparations(get_object_or_404(RawData, pk=pk).versions.all()))


class RunnerList(APIView):
    @extend_schema(parameters=[PageIn], responses=RunnerOut(many=True))
    def get(self, request: Request) -> Response:
        """All runners, by name: whether they live, what they serve, and what they run now."""
        page = PageIn(data=request.query_params)
        page.is_valid(raise_exception=True)
        return Response(RunnerOut(page.page(runners.known()), many=True).data)
