"""Forgiving addresses: a missing slash at the end costs a redirect, whatever the method."""

from django.http import HttpRequest, HttpResponsePermanentRedirect
from django.middleware.common import CommonMiddleware as DjangoCommonMiddleware
from django.utils.http import escape_leading_slashes


class _SameMethodRedirect(HttpResponsePermanentRedirect):
    # A client repeats a 308 with method and body; a 301 would turn a POST into a GET (RFC 9110, 15.4).
    status_code = 308


class CommonMiddleware(DjangoCommonMiddleware):
    response_redirect_class = _SameMethodRedirect

    def get_full_path_with_slash(self, request: HttpRequest) -> str:
        return escape_leading_slashes(request.get_full_path(force_append_slash=True))
