"""What every view asks of a request."""

from typing import Any

from django.contrib.auth.models import User
from rest_framework.request import Request
from rest_framework.serializers import Serializer


def valid(serializer: Serializer[Any]) -> dict[str, Any]:
    """What was sent; raises DRF's `ValidationError`."""
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data  # type: ignore[no-any-return]


def user_of(request: Request) -> User:
    """Who asks; routes without a login don't call this."""
    assert isinstance(request.user, User)
    return request.user
