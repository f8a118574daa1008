"""What all views of ``/api/v1/`` share: who asks, how errors look, lists in pages, and answers that did not change."""

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar, cast

from django.contrib.auth.models import User
from django.db.models import Model, QuerySet
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from drf_spectacular.utils import inline_serializer
from rest_framework import serializers
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import NotFound
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.pagination import CursorPagination
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from runapp.api.authentication import AccessTokenAuthentication
from runapp.api.permissions import HasRole
from runapp.services.errors import BadInput
from runapp.services.roles import Roles

from . import problems
from .bodies import JsonParser

Row = TypeVar("Row", bound=Model)
_USUAL, _MOST = 100, 1000  # rows of a page
#: Rows → what is told of each, in the same order.
Shown = Callable[[Any], Sequence[Any]]


class _AlwaysJson(BaseContentNegotiation):
    """Whoever accepts something else is better served with JSON than with a 406."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return next((each for each in parsers if _fits(each.media_type, request.content_type)), None)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return JSONRenderer(), "application/json"


def _fits(media_type: str, content_type: str | None) -> bool:
    return (content_type or "").partition(";")[0].strip().lower() == media_type


class View(APIView):
    """`roles` may read, `writers` do more (see `HasRole`)."""

    authentication_classes: Sequence[Any] = (AccessTokenAuthentication, SessionAuthentication)
    permission_classes: Sequence[Any] = (HasRole,)
    content_negotiation_class = _AlwaysJson
    parser_classes: Sequence[Any] = (JsonParser,)
    metadata_class = None  # no OPTIONS: the schema says it all

    def get_exception_handler(self) -> Callable[..., Any]:
        return problems.handle

    @property
    def user(self) -> User:
        return cast("User", self.request.user)

    @property
    def their_roles(self) -> Roles:
        return cast("Roles", self.request.roles)  # type: ignore[attr-defined]

    def one(self, rows: QuerySet[Row], what: str, **named: Any) -> Row:
        """The only one of these rows; answers 404 if there is none that the user may see."""
        row = rows.filter(**named).first()
        if row is None:
            raise NotFound(f"There is no {what} {next(iter(named.values()))}, or none that you may see.")
        return row

    def unchanged(self, *versions: object) -> Response | None:
        """An answer without a body if the client has what these versions are of, otherwise None."""
        self.etag = quote_etag(hashlib.sha256(repr(versions).encode()).hexdigest()[:32])
        known = get_conditional_response(cast("Any", self.request), etag=self.etag)
        return None if known is None else Response(status=known.status_code)

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if response.status_code in (200, 304) and (etag := getattr(self, "etag", None)):
            response.headers["ETag"] = etag
        return response

    def page(
        self, rows: QuerySet[Any], shape: type[Serializer[Any]], *ordering: str, shown: Shown | None = None
    ) -> Response:
        """A page of the rows in this order, which has to be a total one; `shown` is what is told of them."""
        pages = _Pages()
        pages.ordering = ordering
        found = pages.paginate_queryset(rows, self.request, self)
        told = found if shown is None else shown(found)
        return pages.get_paginated_response(shape(told, many=True).data)


def limit_of(request: Request) -> int:
    """How many rows a page is to have."""
    given = request.query_params.get("limit", str(_USUAL))
    if not re.fullmatch("[0-9]{1,9}", given) or not 0 < int(given) <= _MOST:
        raise BadInput("limit", f"It is a number from 1 to {_MOST}.")
    return int(given)


def text(field: str, value: str) -> str:
    """A text that the database can look for."""
    if "\0" in value:
        raise BadInput(field, "It has a NUL character.")
    return value


def boolean(field: str, value: str) -> bool:
    if value.lower() not in ("true", "false", "1", "0"):
        raise BadInput(field, "It is true or false.")
    return value.lower() in ("true", "1")


class _Pages(CursorPagination):
    page_size_query_param = "limit"

    def get_page_size(self, request: Request) -> int:
        return limit_of(request)

    def decode_cursor(self, request: Request) -> Any:
        try:
            return super().decode_cursor(request)
        except NotFound as error:
            raise BadInput(
                "cursor", "It is no cursor: take it from `next` or `previous` of an answer."
            ) from error


@cache
def page_of(shape: type[Serializer[Any]]) -> Serializer[Any]:
    """How a page of these is described."""
    return inline_serializer(
        shape.__name__.removesuffix("Out") + "Page",
        {
            "results": shape(many=True),
            "next": serializers.URLField(allow_null=True, help_text="Of the next page."),
            "previous": serializers.URLField(allow_null=True),
        },
    )
