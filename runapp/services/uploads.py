"""Files that arrive in pieces: on disk until they are whole, then blobs. What nobody goes on with is thrown away.

How far one has come is how long its file is, which holds whenever and however a request ended. The folder is below
`DIR_DATA`: web processes on several machines share it, or each client keeps to one of them.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import IO
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Q
from django.db.models.functions import Now

from runapp.models import Upload

from . import blobs
from .errors import BadInput

#: How long an upload that nobody goes on with is kept, and a finished one that nobody used.
KEPT = timedelta(days=2)
#: How many unfinished ones a user may have.
MOST_OPEN = 20


class WrongOffset(Exception):
    """A piece that does not go on where the file ends."""

    def __init__(self, expected: int) -> None:
        super().__init__(f"The next piece starts at byte {expected}.")
        self.expected = expected


class Busy(Exception):
    """Another request writes to the upload."""


class Damaged(Exception):
    """The bytes are not those that were announced: the upload starts anew."""


def create(owner: User, size: int, sha256: str) -> Upload:
    """An upload of so many bytes, which have this sha256."""
    if Upload.objects.filter(owner=owner, finished_at=None).count() >= MOST_OPEN:
        raise BadInput("size", f"You have {MOST_OPEN} uploads that are not finished: finish or delete some.")
    if size == 0 and sha256.lower() != hashlib.sha256().hexdigest():
        raise BadInput("sha256", "It is not that of an empty file.")
    upload = Upload.objects.create(owner=owner, size=size, sha256=sha256.lower())
    upload.refresh_from_db()
    if size == 0:
        append(upload, 0, [])
    return upload


def offset(upload: Upload) -> int:
    """How many bytes of it are there."""
    if upload.finished_at is not None:
        return upload.size
    try:
        return _path(upload).stat().st_size
    except FileNotFoundError:
        return 0


def append(upload: Upload, start: int, pieces: Iterable[bytes]) -> int:
    """Writes the pieces, of which the first starts at byte `start`; returns how many bytes are there then.

    What has come is kept even if `pieces` end early. Raises `WrongOffset`, `Busy`, `Damaged`, or `BadInput` if there
    is more than was announced.
    """
    if upload.finished_at is not None:
        raise WrongOffset(upload.size)
    with _locked(upload) as file:
        there = file.seek(0, os.SEEK_END)
        if start != there:
            raise WrongOffset(there)
        for piece in pieces:
            there += len(piece)
            if there > upload.size:
                raise BadInput("size", f"There is more than the {upload.size} bytes that were announced.")
            file.write(piece)
        file.flush()
        Upload.objects.filter(pk=upload.pk).update(seen_at=Now())
        if there == upload.size:
            _finish(upload, file)
    return there


def finished(owner: User, id: UUID, field: str = "upload") -> Upload:
    """A whole upload of this user's; raises `BadInput`."""
    upload = Upload.objects.filter(owner=owner, pk=id).first()
    if upload is None:
        raise BadInput(field, f"You have no upload {id}: it may have been thrown away, so send it again.")
    if upload.finished_at is None:
        raise BadInput(field, f"It is not finished: {offset(upload)} of {upload.size} bytes are there.")
    return upload


def discard(upload: Upload) -> None:
    _path(upload).unlink(missing_ok=True)
    upload.delete()


def clean(most: int) -> int:
    """Throws away what nobody goes on with, some at a time; returns how many."""
    old = list(Upload.objects.filter(seen_at__lt=Now() - KEPT).order_by("seen_at")[:most])
    for upload in old:
        discard(upload)
    before = time.time() - KEPT.total_seconds()
    for path in _folder().glob("*"):  # of users who are gone
        with suppress(FileNotFoundError):  # finished at this moment
            if path.stat().st_mtime < before:
                path.unlink()
    return len(old)


def _finish(upload: Upload, file: IO[bytes]) -> None:
    file.seek(0)
    if hashlib.file_digest(file, "sha256").hexdigest() != upload.sha256:  # type: ignore[arg-type]
        file.truncate(0)
        raise Damaged
    file.seek(0)
    blobs.put_file(file, upload.size, upload.sha256)
    Upload.objects.filter(pk=upload.pk).update(finished_at=Now())
    upload.refresh_from_db()
    _path(upload).unlink()


@contextmanager
def _locked(upload: Upload) -> Iterator[IO[bytes]]:
    """The file, for this request alone."""
    path = _path(upload)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("ab+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Busy from error
        if Upload.objects.filter(Q(pk=upload.pk) & ~Q(finished_at=None)).exists():
            raise WrongOffset(upload.size)  # another request has finished it meanwhile
        yield file


def _path(upload: Upload) -> Path:
    return _folder() / upload.pk.hex


def _folder() -> Path:
    return Path(settings.DIR_DATA) / "uploads"
