"""``Idempotency-Key``: a POST that is sent again makes nothing twice, and is answered alike."""

import hashlib
import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.http import QueryDict
from drf_spectacular.utils import OpenApiParameter
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from runapp.services import idempotency
from runapp.services.errors import BadInput

from .problems import Problem

Post = Callable[..., Response]

#: For `extend_schema`.
KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Up to 255 characters. Sent again with the same key within two days, it makes nothing twice.",
)
_LONGEST = 255
#: What of an answer's headers is told again.
_HEADERS = ("Location",)


def idempotent(post: Post) -> Post:
    """For a view's method: what it does and its answer are kept in one transaction."""

    @wraps(post)
    def once(view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return post(view, request, *args, **kwargs)
        if not 0 < len(key) <= _LONGEST or not key.isprintable() or not key.isascii():
            raise BadInput("Idempotency-Key", f"It is a text of 1 to {_LONGEST} printable ASCII characters.")
        fingerprint = _fingerprint(request)  # reads the body, which may take its time
        with transaction.atomic():
            try:
                row = idempotency.begin(view.user, key, fingerprint)
            except idempotency.OtherRequest as error:
                detail = "This Idempotency-Key was used for another request: make a new key for each request."
                raise Problem(422, "idempotency-key", detail) from error
            if row.status is not None:
                return Response(
                    row.answer, row.status, headers=row.headers | {"Idempotency-Replayed": "true"}
                )
            response = post(view, request, *args, **kwargs)
            row.status, row.answer = response.status_code, json.loads(JSONRenderer().render(response.data))
            row.headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
            row.save()
            return response

    return once


def _fingerprint(request: Request) -> str:
    """Of method, route and body; a multipart body has another boundary each time, so of its parts."""
    digest = hashlib.sha256(f"{request.method} {request.path}".encode())
    if not isinstance(request.data, QueryDict):
        digest.update(json.dumps(request.data, sort_keys=True).encode())
        return digest.hexdigest()
    for name, values in sorted(request.data.lists()):
        digest.update(repr(name).encode())
        for value in values:
            if isinstance(value, UploadedFile):
                digest.update(repr(value.name).encode() + hashlib.file_digest(value, "sha256").digest())
                value.seek(0)
            else:
                digest.update(repr(value).encode())
    return digest.hexdigest()
