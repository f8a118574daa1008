"""Blobs: bytes named by their sha256, small ones in PostgreSQL, large ones in the default storage.

Content never changes under a name, so storing twice is storing once.
"""

import hashlib
from collections.abc import Iterator
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
    sha256 = hashlib.sha256(content).hexdigest()
    if not Blob.objects.filter(pk=sha256).exists():
        inline = content if len(content) <= INLINE else None
        if inline is None:
            _save(sha256, ContentFile(content))
        blob = Blob(sha256=sha256, size=len(content), content=inline)
        Blob.objects.bulk_create([blob], ignore_conflicts=True)
    return sha256


def put_file(file: IO[bytes], size: int, sha256: str) -> None:
    """Stores an open temporary file whose `sha256` the caller has computed."""
    if size <= INLINE:
        put(file.read())
    elif not Blob.objects.filter(pk=sha256).exists():
        _save(sha256, File(file))
        Blob.objects.bulk_create([Blob(sha256=sha256, size=size)], ignore_conflicts=True)


def get(sha256: str) -> bytes:
    """The bytes named `sha256`; raises `Blob.DoesNotExist`."""
    return b"".join(chunks(Blob.objects.get(pk=sha256)))


def chunks(blob: Blob) -> Iterator[bytes]:
    """The bytes of `blob`, piece by piece."""
    if blob.content is not None:
        yield bytes(blob.content)
        return
    with default_storage.open(_path(blob.sha256)) as file:
        yield from file.chunks(_CHUNK)


def _path(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}"


def _save(sha256: str, file: BytesFile) -> None:
    path = _path(sha256)
    if default_storage.exists(path):
        return
    saved = default_storage.save(path, file)
    if saved != path:  # somebody stored the same content meanwhile
        default_storage.delete(saved)
