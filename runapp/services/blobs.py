"""Blobs: bytes named by their sha256, small ones in PostgreSQL, large ones in the default storage.

Content never changes under a name, so storing twice is storing once.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING

from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage

from runapp.models import Blob

if TYPE_CHECKING:
    BytesFile = File[bytes]
else:  # generic for type checkers only
    BytesFile = File

#: Up to this many bytes stay in the database: one round trip, one backup.
INLINE = 64 * 1024
_CHUNK = 1024 * 1024


def put(content: bytes) -> str:
    """Stores `content`; returns its sha256 in hexadecimal."""
    return put_all([content])[0]


def put_all(contents: Iterable[bytes]) -> list[str]:
    """Stores the contents, in few statements; returns their names, in order."""
    named = [(hashlib.sha256(content).hexdigest(), content) for content in contents]
    known = set(Blob.objects.filter(pk__in=[name for name, _ in named]).values_list("pk", flat=True))
    new = {name: content for name, content in named if name not in known}
    for name, content in new.items():
        if len(content) > INLINE:
            _save(name, ContentFile(content))
    rows = [
        Blob(sha256=name, size=len(content), content=content if len(content) <= INLINE else None)
        for name, content in new.items()
    ]
    Blob.objects.bulk_create(rows, ignore_conflicts=True)
    return [name for name, _ in named]


def put_file(file: IO[bytes], size: int, sha256: str) -> None:
    """Stores an open temporary file whose `sha256` the caller has computed."""
    if size <= INLINE:
        put(file.read())
    elif not Blob.objects.filter(pk=sha256).exists():
        _save(sha256, File(file))
        Blob.objects.bulk_create([Blob(sha256=sha256, size=size)], ignore_conflicts=True)


def get(sha256: str) -> bytes:
    """The bytes named `sha256`; raises `Blob.DoesNotExist`."""
    return content(Blob.objects.get(pk=sha256))


def content(blob: Blob) -> bytes:
    """The bytes of `blob`."""
    return b"".join(chunks(blob))


def opened(blob: Blob) -> IO[bytes]:
    """The bytes of `blob` as an open file, in which one can seek."""
    return io.BytesIO(blob.content) if blob.content is not None else default_storage.open(_path(blob.sha256))


def chunks(blob: Blob) -> Iterator[bytes]:
    """The bytes of `blob`, piece by piece."""
    if blob.content is not None:
        yield bytes(blob.content)
        return
    with default_storage.open(_path(blob.sha256)) as file:
        yield from file.chunks(_CHUNK)


def direct_url(blob: Blob) -> str | None:
    """Where a large blob can be fetched for an hour, past the web; None if only the web has it."""
    url: str | None = default_storage.direct_url(_path(blob.sha256)) if blob.content is None else None  # type: ignore[attr-defined]
    return url


def _path(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}"


def _save(sha256: str, file: BytesFile) -> None:
    path = _path(sha256)
    if default_storage.exists(path):
        return
    saved = default_storage.save(path, file)
    if saved != path:  # somebody stored the same content meanwhile
        default_storage.delete(saved)
