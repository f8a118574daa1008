"""One format for errors: ``{field: [sentence, …]}``, or ``{"detail": sentence}`` where no field is named."""

import logging
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler

from runapp.services.errors import BadInput

from .parsers import TooLarge

logger = logging.getLogger(__name__)


class Unavailable(APIException):
    """The database is away, or gave the request up: the same request may succeed later."""

    status_code = 503
    default_detail = "The database does not answer: try again in a moment."
    wait = 5  # seconds, for Retry-After


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler."""
    response = exception_handler(translated(error, context), context)
    if response is not None:
        response.data = encodable(response.data)
    return response


def translated(error: Exception, context: dict[str, Any]) -> Exception:
    """What services, Django and the database raise, as DRF knows it: services refuse with `BadInput`."""
    if isinstance(error, BadInput):
        return ValidationError({error.field: [error.message]})
    if isinstance(error, RequestDataTooBig):
        return TooLarge()
    if isinstance(error, OperationalError | InterfaceError):
        logger.error("%s: %s", context["request"].path, str(error).strip())
        return Unavailable()
    return error


def encodable(value: Any) -> Any:
    """`value` with lone surrogates escaped: a message may quote input that is no valid text."""
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [encodable(item) for item in value]
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
