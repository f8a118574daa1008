"""Forgiving addresses: a missing slash at the end costs a redirect, whatever the method. And what every answer of
``/api/v1/`` has, even where no view took part.
"""

from collections.abc import Callable
from typing import cast

from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.middleware.common import CommonMiddleware as DjangoCommonMiddleware
from django.middleware.http import ConditionalGetMiddleware
from django.utils.http import escape_leading_slashes

from datarun import __version__

from .v1 import problems

_API = "/api/v1/"


class _SameMethodRedirect(HttpResponsePermanentRedirect):
    # A client repeats a 308 with method and body; a 301 would turn a POST into a GET (RFC 9110, 15.4).
    status_code = 308


class CommonMiddleware(DjangoCommonMiddleware):
    response_redirect_class = _SameMethodRedirect

    def get_full_path_with_slash(self, request: HttpRequest) -> str:
        return escape_leading_slashes(request.get_full_path(force_append_slash=True))


class ApiMiddleware(ConditionalGetMiddleware):
    """Answers of ``/api/v1/`` tell the version, every error is a problem, and every GET has an ETag."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        super().__init__(get_response)
        self._next = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._next(request)
        if not request.path_info.startswith(_API):
            return response
        status = response.status_code
        if status >= 400 and response.get("Content-Type") != problems.MEDIA_TYPE:
            response = problems.response(status, _SAID.get(status, ""))
        response = cast("HttpResponse", self.process_response(request, response))
        response["Datarun-Version"] = __version__
        return response


_SAID = {
    400: "The request can't be understood.",
    403: "The request lacks Django's CSRF token: use an access token instead of a session.",
    404: "There is no such route: see /docs/ for those that there are.",
    500: "datarun failed: its log says why. It is no fault of the request.",
}
