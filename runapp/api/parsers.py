"""JSON bodies, bounded and without surprises."""

import json
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser


class TooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"

    def __init__(self, limit: int | None = None) -> None:
        super().__init__(f"The body is larger than {limit or settings.MAX_BODY} bytes: send less at once.")


#: Deeper than any request: what renders or compares a value may recurse into it.
_MAX_DEPTH = 16


class BoundedJSONParser(BaseParser):
    """A JSON object of at most `MAX_BODY` bytes, without repeated names, NaN or deep nesting."""

    media_type = "application/json"

    @property
    def limit(self) -> int:
        return int(settings.MAX_BODY)

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        body = stream.read(self.limit + 1)
        if len(body) > self.limit:
            raise TooLarge(self.limit)
        try:
            value = json.loads(body, object_pairs_hook=_object, parse_constant=_constant)
        except (ValueError, RecursionError) as error:
            raise ParseError(f"The body is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise ParseError("The body must be a JSON object.")
        _check_depth(value, _MAX_DEPTH)
        return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ParseError(
            {repeated[:255]: [f"{repeated[:255]!r} is named twice: send each file and field once."]}
        )
    return value


def _check_depth(value: Any, room: int) -> None:
    if isinstance(value, dict | list):
        if not room:
            raise ParseError("The body is nested too deeply: send an object of plain values.")
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, room - 1)


def _constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
