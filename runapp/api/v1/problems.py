"""Errors as RFC 9457 says them: ``application/problem+json``, the same members everywhere."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, TooManyFieldsSent, TooManyFilesSent
from django.http import Http404, JsonResponse
from django.http.multipartparser import MultiPartParserError
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler, set_rollback

from runapp.api.errors import encodable, translated

MEDIA_TYPE = "application/problem+json"

#: The last part of `type`, by status, where nothing more is to be said.
_KINDS = {
    400: "invalid",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    413: "too-large",
    415: "unsupported-media-type",
    429: "throttled",
    500: "failed",
    503: "unavailable",
}


class Problem(exceptions.APIException):
    """An error with a kind of its own, and members beside the usual ones."""

    def __init__(
        self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status_code = status
        self.kind = kind
        self.headers = dict(headers or {})
        self.members = members


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler for ``/api/v1/``."""
    error = translated(error, context)
    if isinstance(error, TooManyFieldsSent | TooManyFilesSent | MultiPartParserError):
        error = exceptions.ParseError(f"The body can't be read as multipart/form-data: {error}")
    elif isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    if isinstance(error, Problem):
        set_rollback()
        body = body_of(error.status_code, str(error.detail), error.kind, **error.members)
        return Response(body, error.status_code, headers=error.headers, content_type=MEDIA_TYPE)
    response = exception_handler(error, context)
    if response is None:
        return None
    response.content_type = MEDIA_TYPE
    response.data = _body(response.status_code, encodable(response.data))
    return response


def _body(status: int, said: Any) -> dict[str, Any]:
    """From what DRF makes of an exception: a detail, or messages by field."""
    if isinstance(said, dict) and set(said) == {"detail"}:
        return body_of(status, str(said["detail"]))
    errors = [{"field": field, "message": message} for field, message in _messages(said)]
    named = "; ".join(
        f"{each['field']}: {each['message']}" if each["field"] else each["message"] for each in errors
    )
    return body_of(status, named, errors=errors)


def _messages(said: Any, field: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(said, dict):
        for name, value in said.items():
            name = "" if name == "non_field_errors" else str(name)
            yield from _messages(value, ".".join(filter(None, (field, name))))
    elif isinstance(said, list):
        for value in said:
            yield from _messages(value, field)
    else:
        yield field, str(said)


def body_of(status: int, detail: str, kind: str = "", **members: Any) -> dict[str, Any]:
    return {
        "type": f"/problems/{kind or _KINDS.get(status, 'error')}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **members,
    }


def response(status: int, detail: str) -> JsonResponse:
    """A problem that no view has answered."""
    return JsonResponse(body_of(status, detail), status=status, content_type=MEDIA_TYPE)
