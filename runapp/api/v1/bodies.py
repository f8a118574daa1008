"""Bodies with files: as multipart/form-data, streamed to disk; as JSON with base64; or by the id of an upload."""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import QueryDict
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request

from runapp.api.parsers import BoundedJSONParser, TooLarge
from runapp.services import archives, checks, contents, uploads
from runapp.services.contents import Content, Contents
from runapp.services.errors import BadInput


class JsonParser(BoundedJSONParser):
    """Files in JSON are in memory, so that they are small; large ones come as uploads, or as multipart."""

    @property
    def limit(self) -> int:
        return 2 * int(settings.MAX_SUBMISSION)


class MultipartParser(MultiPartParser):
    """Parts larger than `FILE_UPLOAD_MAX_MEMORY_SIZE` go to disk as they come."""

    def parse(self, stream: IO[bytes], media_type: Any = None, parser_context: Any = None) -> Any:
        request = (parser_context or {})["request"]
        request.upload_handlers = [_Bound(request), *request.upload_handlers]
        return super().parse(stream, media_type, parser_context)


class _Bound(FileUploadHandler):
    """Gives up on a body whose files are larger together than one file may be."""

    def __init__(self, request: Any) -> None:
        super().__init__(request)
        Path(settings.FILE_UPLOAD_TEMP_DIR).mkdir(parents=True, exist_ok=True, mode=0o700)
        self._size = 0

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        self._size += len(raw_data)
        if self._size > settings.MAX_FILE:
            raise TooLarge(settings.MAX_FILE)
        return raw_data

    def file_complete(self, file_size: int) -> None:
        return None


PARSERS = (JsonParser, MultipartParser)

#: Fields of a form that hold JSON, or a list with commas between.
_JSON = ("cv", "limits")


def fields(request: Request) -> dict[str, Any]:
    """The fields of the body but for its files; those of a form as JSON would have them."""
    if not isinstance(request.data, QueryDict):
        return dict(request.data)
    given: dict[str, Any] = {name: request.data[name] for name in request.data if name not in request.FILES}
    for name in _JSON:
        if name in given:
            try:
                given[name] = json.loads(given[name])
            except (ValueError, RecursionError) as error:
                raise BadInput(name, f"It is no JSON: {error}") from error
    return given


@contextmanager
def files(request: Request, user: User, given: Mapping[str, Any], room: int) -> Iterator[Contents]:
    """The files of the body, to be read while this is open: those in a zip, if it is one zip."""
    found = dict(_sent(request, user, given))
    if len(found) == 1 and (archive := _zip(*found.values())) is not None:
        with archives.opened(archive, room) as inside:
            yield inside
    else:
        yield found


def plain_files(request: Request, user: User, given: Mapping[str, Any]) -> Contents:
    """The files of the body, as they are."""
    return dict(_sent(request, user, given))


def _zip(content: Content) -> Content | None:
    return content if content.head(4) in (b"PK\3\4", b"PK\5\6") else None


def _sent(request: Request, user: User, given: Mapping[str, Any]) -> Iterator[tuple[str, Content]]:
    sources = [bool(request.FILES), given.get("upload") is not None, given.get("files") is not None]
    if sum(sources) != 1:
        raise BadInput("files", "Send files: as parts of a form, or as `files` or `upload` of a JSON body.")
    if given.get("upload") is not None:
        upload = uploads.finished(user, given["upload"])
        yield given.get("file_name") or "upload", contents.of_blob(upload.sha256)
    elif given.get("files") is not None:
        for name, text in given["files"].items():
            yield name, contents.of_bytes(_decoded(name, text))
    else:
        seen = set()
        for _, parts in request.FILES.lists():
            for part in parts:
                if part.name in seen:
                    raise BadInput("files", f"There are two files {part.name!r}.")
                seen.add(part.name)
                yield part.name, Content(part.size, _Opener(part))


class _Opener:
    """A part of the form, from its start."""

    def __init__(self, part: "UploadedFile[Any]") -> None:
        self._part = part

    def __call__(self) -> Any:
        self._part.seek(0)
        return _Kept(self._part)


class _Kept:
    """A file that others go on to read: leaving it does not close it."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_Kept":
        return self

    def __exit__(self, *args: object) -> None:
        pass


def _decoded(name: str, text: object) -> bytes:
    checks.file_name(name)
    try:
        return base64.b64decode(text, validate=True)  # type: ignore[arg-type]
    except (TypeError, ValueError, binascii.Error) as error:
        raise BadInput("files", f"{name}: its content is not base64.") from error
