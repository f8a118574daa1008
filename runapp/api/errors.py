"""One format for errors: ``{field: [sentence, …]}``, or ``{"detail": sentence}`` where no field is named."""

from typing import Any

from django.core.exceptions import RequestDataTooBig
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler

from runapp.services.errors import BadInput

from .parsers import TooLarge


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: services refuse with `BadInput`."""
    if isinstance(error, BadInput):
        error = ValidationError({error.field: [error.message]})
    elif isinstance(error, RequestDataTooBig):
        error = TooLarge()
    response = exception_handler(error, context)
    if response is not None:
        response.data = _encodable(response.data)
    return response


def _encodable(value: Any) -> Any:
    """`value` with lone surrogates escaped: a message may quote input that is no valid text."""
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
