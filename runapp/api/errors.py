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
        response.data = encodable(response.data)
    return response


def encodable(value: Any) -> Any:
    """`value` with lone surrogates escaped: a message may quote input that is no valid text."""
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [encodable(item) for item in value]
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
