"""What the OpenAPI document says of every operation beside its own answers: the problems that it may answer."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from . import problems
from .shapes import Shape

LIST = [
    OpenApiParameter("limit", int, description="Rows a page: 1 to 1000, 100 by default."),
    OpenApiParameter("cursor", str, description="From `next` or `previous` of an answer."),
]


class ErrorOut(Shape):
    field = serializers.CharField(allow_blank=True)
    message = serializers.CharField()


class ProblemOut(Shape):
    """RFC 9457."""

    type = serializers.CharField(help_text="/problems/<kind>")
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()

    def get_fields(self) -> dict[str, Any]:  # `errors` means something else as an attribute of a serializer
        errors = ErrorOut(many=True, required=False, help_text="What is wrong with which field.")
        return {**super().get_fields(), "errors": errors}


def answers(
    own: Mapping[Any, Any],
    *,
    body: bool = False,
    named: bool = False,
    paged: bool = False,
    etag: bool = False,
    throttled: bool = False,
    more: Mapping[int, str] | None = None,
) -> dict[Any, Any]:
    """The answers `own`, and the problems of every operation, of those with a body, a row, a page, a limit; `more`."""
    said = {
        401: "No credentials, or wrong ones.",
        403: "Your role does not allow it.",
        503: "The database is away: try again in a moment.",
    }
    if body:
        said |= {
            400: "The input can't be accepted: `errors` names fields and fixes.",
            413: "The body is too large.",
            415: "The body has another media type.",
            409: "Something that exists is in the way.",
            422: "The Idempotency-Key was used for another request.",
        }
    if paged:
        said[400] = "A filter, `limit` or `cursor` can't be understood."
    if named:
        said[404] = "There is none, or none that you may see."
    if throttled:
        said[429] = "Too often, or more than allowed: `Retry-After` says in how many seconds again."
    said |= more or {}
    described: dict[Any, Any] = dict(own)
    if etag:
        described[304] = OpenApiResponse(description="It has not changed since `If-None-Match`.")
    for status, text in said.items():
        described[status, problems.MEDIA_TYPE] = OpenApiResponse(ProblemOut, description=text)
    return described
