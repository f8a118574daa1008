"""Submissions: posting them, how they go, their files."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from runapp.api.requests import valid
from runapp.api.serializers import NumberOut, RerunIn
from runapp.api.throttling import SubmitThrottle
from runapp.models import Blob, Submission
from runapp.services import blobs, catalogue, participating, reports, roles, submitting
from runapp.services.participating import Posted

from . import bodies
from .base import View, page_of, text
from .datasets import DATASET, DatasetView
from .described import LIST, answers
from .idempotent import KEY, idempotent
from .problems import Problem
from .shapes import FileOut, FoldOut, NewSubmission, SubmissionForm, SubmissionOut

_FILTERS = [
    OpenApiParameter("user", str, description="A user name."),
    OpenApiParameter("name", str, description="A part of the name."),
    OpenApiParameter("state", str, enum=catalogue.SUBMISSION_STATES),
]


class _SubmissionsView(View):
    def filtered(self, query: Mapping[str, str]) -> QuerySet[Submission]:
        """The submissions that the user may see, and asks for."""
        rows = roles.submissions_for(self.user, self.their_roles).select_related("raw_data", "owner")
        if user := query.get("user"):
            rows = rows.filter(owner__username=text("user", user))
        if name := query.get("name"):
            rows = rows.filter(name__icontains=text("name", name))
        if (state := query.get("state")) is not None:
            rows = catalogue.in_state(rows, state)
        return rows

    def listed(self, rows: QuerySet[Submission]) -> Response:
        return self.page(
            rows, SubmissionOut, "-pk", shown=lambda some: catalogue.submissions(self.user, some)
        )


class Submissions(_SubmissionsView):
    roles = roles.SUBMITTERS

    @extend_schema(
        operation_id="submissions_list",
        parameters=[*LIST, OpenApiParameter("dataset", str, description="Name or id."), *_FILTERS],
        responses=answers({200: page_of(SubmissionOut)}, paged=True),
    )
    def get(self, request: Request) -> Response:
        """One's own submissions, an organiser's also those to data sets of theirs; the latest first."""
        rows = self.filtered(request.query_params)
        if (named := request.query_params.get("dataset")) is not None:
            rows = rows.filter(raw_data__in=catalogue.named(named))
        return self.listed(rows)


class DatasetSubmissions(DatasetView, _SubmissionsView):
    roles = roles.SUBMITTERS
    parser_classes = bodies.PARSERS

    def get_throttles(self) -> list[Any]:
        return [SubmitThrottle()]

    @extend_schema(
        parameters=[DATASET, *LIST, *_FILTERS],
        responses=answers({200: page_of(SubmissionOut)}, paged=True, named=True),
    )
    def get(self, request: Request, dataset: str) -> Response:
        """The submissions to a data set that one may see, the latest first."""
        row = self.data_set(dataset)
        return self.listed(self.filtered(request.query_params).filter(raw_data=row))

    @extend_schema(
        parameters=[DATASET, KEY],
        request={"application/json": NewSubmission, "multipart/form-data": SubmissionForm},
        responses=answers({201: SubmissionOut}, body=True, named=True, throttled=True),
    )
    @idempotent
    def post(self, request: Request, dataset: str) -> Response:
        """Submit files, or one zip of them. It is trained on all folds of the data set's cross-validation.

        The same code again is answered 409 `duplicate` with the id of the first `submission`, unless `force` is set.
        """
        row = self.data_set(dataset)
        given = valid(NewSubmission(data=bodies.fields(request)))
        posted = Posted(given["name"], given["queue"], given["force"])
        try:
            with bodies.files(request, self.user, given, participating.most_bytes(row)) as files:
                made = participating.submit(self.user, row, files, posted)
        except participating.Duplicate as error:
            first = error.first.pk
            raise Problem(
                409,
                "duplicate",
                f"{error} Send force (datarun submit --force) to submit it again.",
                submission=first,
            ) from error
        except participating.OverLimit as error:
            headers = {"Retry-After": str(error.seconds)}
            until = error.until.isoformat() if error.until else None
            raise Problem(429, "limit", str(error), headers, possible_at=until) from error
        (told,) = catalogue.submissions(self.user, [made])
        headers = {"Location": f"/api/v1/submissions/{made.pk}/"}
        return Response(SubmissionOut(told).data, status.HTTP_201_CREATED, headers=headers)


class _OneSubmissionView(View):
    roles = roles.SUBMITTERS

    def submission(self, id: int) -> Submission:
        rows = roles.submissions_for(self.user, self.their_roles).select_related("raw_data", "owner")
        return self.one(rows, "submission", pk=id)


class OneSubmission(_OneSubmissionView):
    @extend_schema(responses=answers({200: SubmissionOut}, named=True, etag=True))
    def get(self, request: Request, submission: int) -> Response:
        """How a submission goes: its folds by state, its scores, why it waits."""
        row = self.submission(submission)
        version = catalogue.submission_version(row)
        if answer := self.unchanged(version, *reports.parts_for(self.user, row.raw_data)):
            return answer
        (told,) = catalogue.submissions(self.user, [row], explain=True)
        return Response(SubmissionOut(told).data)

    @extend_schema(
        request=None,
        responses=answers({204: None}, named=True, more={409: "Its data set counts submissions."}),
    )
    def delete(self, request: Request, submission: int) -> Response:
        """Delete it with its folds. Where submissions are counted, only the organiser does."""
        row = self.submission(submission)
        counted = "submissions_per_day" in row.raw_data.limits
        if counted and not reports.is_organiser(self.user, row.raw_data):
            text = f"{row.raw_data} counts submissions a day: cancel it instead, or ask its organiser."
            raise Problem(409, "counted", text)
        with transaction.atomic():
            row.delete()
        return Response(status=status.HTTP_204_NO_CONTENT)


class SubmissionCancel(_OneSubmissionView):
    @extend_schema(parameters=[KEY], request=None, responses=answers({200: NumberOut}, body=True, named=True))
    @idempotent
    def post(self, request: Request, submission: int) -> Response:
        """Cancel it: waiting folds end at once, running ones once their runners confirm that they are gone."""
        return Response({"jobs": submitting.cancel(self.submission(submission))})


class SubmissionRerun(_OneSubmissionView):
    @extend_schema(
        parameters=[KEY],
        request=RerunIn,
        responses=answers({200: NumberOut}, body=True, named=True, throttled=True),
    )
    @idempotent
    def post(self, request: Request, submission: int) -> Response:
        """Run its finished folds again, or only those that failed."""
        given = valid(RerunIn(data=request.data))
        return Response({"jobs": submitting.rerun(self.submission(submission), **given)})


class SubmissionFolds(_OneSubmissionView):
    @extend_schema(
        parameters=LIST, responses=answers({200: page_of(FoldOut)}, paged=True, named=True, etag=True)
    )
    def get(self, request: Request, submission: int) -> Response:
        """Its folds."""
        row = self.submission(submission)
        version = catalogue.submission_version(row)
        parts, query = reports.parts_for(self.user, row.raw_data), request.query_params.urlencode()
        if answer := self.unchanged(version, *parts, query):
            return answer
        folds = row.submissionfold_set.select_related("job", "cv_fold", "databoard_s__raw_data")
        return self.page(folds, FoldOut, "pk", shown=lambda some: catalogue.folds(self.user, some))


class SubmissionFiles(_OneSubmissionView):
    @extend_schema(
        operation_id="submission_files_list",
        parameters=LIST,
        responses=answers({200: page_of(FileOut)}, paged=True, named=True),
    )
    def get(self, request: Request, submission: int) -> Response:
        """Its files, by name."""
        files = self.submission(submission).files
        sizes = dict(Blob.objects.filter(pk__in=files.values()).values_list("pk", "size"))
        rows = [{"name": name, "sha256": blob, "size": sizes[blob]} for name, blob in sorted(files.items())]
        return Response({"results": FileOut(rows, many=True).data, "next": None, "previous": None})


class SubmissionFile(_OneSubmissionView):
    @extend_schema(
        responses=answers(
            {(200, "application/octet-stream"): OpenApiResponse(OpenApiTypes.BINARY)}, named=True, etag=True
        )
    )
    def get(self, request: Request, submission: int, name: str) -> Any:
        """The content of one of its files."""
        files = self.submission(submission).files
        if name not in files:
            raise Problem(404, "not-found", f"It has no file {name!r}: it has {', '.join(sorted(files))}.")
        return self.unchanged(files[name]) or HttpResponse(
            blobs.get(files[name]),
            content_type="application/octet-stream",
            headers={"X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment"},
        )
