"""Blobs for runners: ``/blobs/<sha256>``, opened by a runner's token."""

import hashlib
import re
import tempfile

from django.conf import settings
from django.http import HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.generics import get_object_or_404
from rest_framework.parsers import FileUploadParser
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from runapp.models import Blob
from runapp.services import blobs

from .authentication import RunnerAuthentication
from .parsers import TooLarge

_CHUNK = 1024 * 1024
_IN_MEMORY = 8 * 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")


@extend_schema(exclude=True)
class BlobView(APIView):
    authentication_classes = (RunnerAuthentication,)
    permission_classes = (IsAuthenticated,)
    parser_classes = (FileUploadParser,)

    def get(self, request: Request, sha256: str) -> HttpResponseBase:
        blob = get_object_or_404(Blob, pk=sha256)
        if (url := blobs.direct_url(blob)) is not None:
            return HttpResponseRedirect(url)
        return StreamingHttpResponse(
            blobs.chunks(blob),
            content_type="application/octet-stream",
            headers={"Content-Length": str(blob.size), "Cache-Control": "private, immutable"},
        )

    def put(self, request: Request, sha256: str) -> Response:
        """Stores the body, if it is what its name says."""
        if not _SHA256.fullmatch(sha256):
            raise ValidationError({"sha256": ["A blob is named by 64 hexadecimal digits."]})
        digest, size = hashlib.sha256(), 0
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
            while chunk := request._request.read(_CHUNK):
                size += len(chunk)
                if size > settings.MAX_FILE:
                    raise TooLarge
                digest.update(chunk)
                file.write(chunk)
            if digest.hexdigest() != sha256:
                raise ValidationError(
                    {"sha256": ["The body's sha256 is another: it was damaged, send it again."]}
                )
            file.seek(0)
            blobs.put_file(file, size, sha256)
        return Response(status=status.HTTP_204_NO_CONTENT)
