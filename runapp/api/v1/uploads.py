"""Uploads that can be gone on with: tus 1.0's core, below ``/api/v1/uploads/``.

``POST`` announces size and sha256, ``PATCH`` sends a piece, ``HEAD`` asks how far it has come.
"""

import re
from collections.abc import Iterator
from uuid import UUID

from django.conf import settings
from django.http import UnreadablePostError
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.parsers import FileUploadParser
from rest_framework.request import Request
from rest_framework.response import Response

from runapp.api.requests import valid
from runapp.models import Upload
from runapp.services import roles, uploads
from runapp.services.errors import BadInput

from .base import View
from .described import answers
from .idempotent import KEY, idempotent
from .problems import Problem
from .shapes import Shape

_PIECE = 1024 * 1024
_OFFSET = OpenApiParameter(
    "Upload-Offset", int, OpenApiParameter.HEADER, required=True, description="Where the piece starts."
)


class UploadIn(Shape):
    size = serializers.IntegerField(min_value=0, max_value=2**53, help_text="Of the whole file, in bytes.")
    sha256 = serializers.RegexField(
        re.compile(r"\A[0-9a-fA-F]{64}\Z"),
        help_text="Of the whole file, in hexadecimal.",
        error_messages={"invalid": "It has 64 hexadecimal digits."},
    )


class UploadOut(serializers.ModelSerializer[Upload]):
    offset = serializers.SerializerMethodField(
        help_text="How many bytes are there: where the next piece starts."
    )

    class Meta:
        model = Upload
        fields = ("id", "offset", "size", "sha256")

    def get_offset(self, upload: Upload) -> int:
        return uploads.offset(upload)


class _Piece(FileUploadParser):
    media_type = "application/offset+octet-stream"


def _said(upload: Upload, status: int = 200, **headers: str) -> Response:
    response = Response(UploadOut(upload).data, status, headers=headers)
    response.headers["Upload-Offset"] = str(response.data["offset"])
    response.headers["Upload-Length"] = str(upload.size)
    response.headers["Tus-Resumable"] = "1.0.0"
    response.headers["Cache-Control"] = "no-store"
    return response


class Uploads(View):
    roles = roles.SUBMITTERS

    @extend_schema(parameters=[KEY], request=UploadIn, responses=answers({201: UploadOut}, body=True))
    @idempotent
    def post(self, request: Request) -> Response:
        """Announce a file. Its pieces follow with PATCH; once whole, it can be posted by its id."""
        given = valid(UploadIn(data=request.data))
        most = settings.MAX_FILE if self.their_roles & roles.ORGANISERS else settings.MAX_SUBMISSION
        if given["size"] > most:
            raise BadInput("size", f"At most {most} bytes are possible.")
        upload = uploads.create(self.user, **given)
        return _said(upload, status.HTTP_201_CREATED, Location=f"{request.path}{upload.pk}/")


class OneUpload(View):
    roles = roles.SUBMITTERS
    parser_classes = (_Piece,)

    @extend_schema(responses=answers({200: UploadOut}, named=True))
    def get(self, request: Request, upload: UUID) -> Response:
        """How far it has come, in `Upload-Offset` too; HEAD answers the same without a body."""
        return _said(self._mine(upload))

    @extend_schema(
        parameters=[_OFFSET],
        request={_Piece.media_type: OpenApiTypes.BINARY},
        responses=answers(
            {200: UploadOut},
            body=True,
            named=True,
            more={
                409: "The piece starts elsewhere than at `offset`, or another request sends one: try again.",
                422: "The whole file has another sha256 than was announced: it starts anew.",
            },
        ),
    )
    def patch(self, request: Request, upload: UUID) -> Response:
        """Send a piece that starts at `Upload-Offset`. What came of an interrupted one is kept: ask, and go on."""
        row, start = self._mine(upload), request.headers.get("Upload-Offset", "")
        if not re.fullmatch(r"[0-9]{1,18}", start):
            raise BadInput("Upload-Offset", "It is a number: the first byte of the piece, counted from 0.")
        if self.get_content_negotiator().select_parser(request, self.get_parsers()) is None:
            raise Problem(415, "unsupported-media-type", f"Send the piece as {_Piece.media_type}.")
        try:
            uploads.append(row, int(start), _pieces(request))
        except uploads.WrongOffset as error:
            headers = {"Upload-Offset": str(error.expected)}
            raise Problem(409, "wrong-offset", str(error), headers, offset=error.expected) from error
        except uploads.Busy as error:
            text = "Another request writes to this upload: try again in a moment."
            raise Problem(409, "busy", text, {"Retry-After": "1"}) from error
        except uploads.Damaged as error:
            text = "The file has another sha256 than was announced: it was damaged on its way. Send it again."
            raise Problem(422, "damaged", text, offset=0) from error
        return _said(row)

    @extend_schema(request=None, responses=answers({204: None}, named=True))
    def delete(self, request: Request, upload: UUID) -> Response:
        """Throw it away."""
        uploads.discard(self._mine(upload))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _mine(self, upload: UUID) -> Upload:
        return self.one(Upload.objects.filter(owner=self.user), "upload", pk=upload)


def _pieces(request: Request) -> Iterator[bytes]:
    """The body, until it ends or the connection breaks."""
    try:
        while piece := request._request.read(_PIECE):
            yield piece
    except UnreadablePostError:  # nobody waits for the answer; what came is kept
        return
