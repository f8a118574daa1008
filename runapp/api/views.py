"""The routes under ``/runapp/`` that existing datarun clients speak."""

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from runapp.models import RawData
from runapp.services import predictions, raw_data, submissions

from . import folds
from .requests import user_of, valid
from .serializers import (
    CustomSplitIn,
    PredictionListIn,
    PredictionNewIn,
    PredictionsOut,
    RawDataIn,
    RawDataOut,
    SplitIn,
    SubmissionFoldDetailOut,
    SubmissionFoldIn,
    SubmissionFoldLightOut,
    SubmissionFoldOut,
    TaskOut,
)


class RawDataList(APIView):
    @extend_schema(parameters=[folds.PageIn], responses=RawDataOut(many=True))
    def get(self, request: Request) -> Response:
        """All data sets."""
        page = folds.PageIn(data=request.query_params)
        valid(page)
        return Response(RawDataOut(page.page(RawData.objects.order_by("id")), many=True).data)

    @extend_schema(request=RawDataIn, responses={201: RawDataOut})
    def post(self, request: Request) -> Response:
        """Post a data set: one csv, or several files of which one `.py` is the custom module.

        A csv names its columns in the first line. A custom module defines `prepare_data(raw_data_path)`,
        `get_train_data(raw_data_path)`, `get_test_data(raw_data_path)`,
        `train_submission(module_path, X, y, train_indices)` and
        `test_submission(trained_model, X, test_indices)`.
        """
        given = valid(RawDataIn(data=request.data))
        created = raw_data.create(user_of(request), raw_data.PostedRawData(**given))
        return Response(RawDataOut(created).data, status=status.HTTP_201_CREATED)


class Split(APIView):
    @extend_schema(request=SplitIn, responses=TaskOut)
    def post(self, request: Request) -> Response:
        """Split a csv data set into train and test part: scikit-learn's `train_test_split`, shuffled.

        The same parameters again change nothing; others make a new version, which later folds run on.
        """
        return Response(TaskOut(raw_data.split(user_of(request), **valid(SplitIn(data=request.data)))).data)


class CustomSplit(APIView):
    @extend_schema(request=CustomSplitIn, responses=TaskOut)
    def post(self, request: Request) -> Response:
        """Prepare a data set with its custom module's `prepare_data`."""
        given = valid(CustomSplitIn(data=request.data))
        return Response(TaskOut(raw_data.custom_split(user_of(request), **given)).data)


class SubmissionFoldLightList(APIView):
    @extend_schema(parameters=[folds.FoldFilterIn], responses=SubmissionFoldLightOut(many=True))
    def get(self, request: Request) -> Response:
        """All submission folds: id, submission, state, and whether their predictions are new."""
        wanted = folds.FoldFilterIn(data=request.query_params)
        valid(wanted)
        return Response(list(folds.light_rows(wanted.folds())))


class SubmissionFoldList(APIView):
    @extend_schema(
        operation_id="runapp_submissionfold_list",
        parameters=[folds.FoldFilterIn],
        responses=SubmissionFoldOut(many=True),
    )
    def get(self, request: Request) -> Response:
        """All submission folds; predictions and indices are null here, the detail has them."""
        wanted = folds.FoldFilterIn(data=request.query_params)
        valid(wanted)
        return Response(list(folds.full_rows(wanted.folds())))

    @extend_schema(request=SubmissionFoldIn, responses={201: SubmissionFoldOut})
    def post(self, request: Request) -> Response:
        """Post a submission fold, with `raw_data` and `files` if its submission is new.

        `force` replaces what exists: `submission_fold`, or `submission, submission_fold`; replacing a
        submission deletes its folds. It runs as soon as its data set is prepared and a runner is free.
        """
        given = valid(SubmissionFoldIn(data=request.data))
        posted = submissions.PostedFold(**given | {"force": given["force"] or ""})
        fold = submissions.post_fold(user_of(request), posted)
        return Response(SubmissionFoldOut(fold).data, status=status.HTTP_201_CREATED)


class SubmissionFoldDetail(APIView):
    @extend_schema(operation_id="runapp_submissionfold_detail", responses=SubmissionFoldDetailOut)
    def get(self, request: Request, pk: int) -> Response:
        """Everything about one submission fold, and why it waits if it does."""
        found = predictions.with_predictions([pk]).select_related("train_is", "test_is")
        return Response(SubmissionFoldDetailOut(get_object_or_404(found)).data)


class TestPredictionList(APIView):
    @extend_schema(request=PredictionListIn, responses=PredictionsOut(many=True))
    def post(self, request: Request) -> Response:
        """Predictions, state and log of the submission folds with these ids.

        Finished ones are no longer new; one that has yet to run stays new.
        """
        given = valid(PredictionListIn(data=request.data))
        return Response(PredictionsOut(predictions.by_ids(given["list_submission_fold"]), many=True).data)


class TestPredictionNew(APIView):
    @extend_schema(request=PredictionNewIn, responses=PredictionsOut(many=True))
    def post(self, request: Request) -> Response:
        """Predictions of the tested folds that nobody asked for yet, of `raw_data_id` if given.

        No two callers get the same fold; what a caller failed to receive stays readable through `list/`.
        """
        given = valid(PredictionNewIn(data=request.data))
        if given["raw_data_id"] is not None:
            raw_data.find(given["raw_data_id"])
        return Response(
            PredictionsOut(predictions.take_new(given["raw_data_id"], given["limit"]), many=True).data
        )
