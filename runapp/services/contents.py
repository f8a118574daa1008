"""Posted files, wherever their bytes are: in memory, in a temporary file, in a zip, or a blob already.

Read piece by piece: a large one never is in memory as a whole.
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from runapp.models import Blob

from . import blobs

_PIECE = 1024 * 1024


@dataclass(frozen=True)
class Content:
    """The bytes of one file: `open` gives them anew each time. `blob` names them if they are stored already."""

    size: int
    open: Callable[[], IO[bytes]]
    blob: str | None = None

    def pieces(self) -> Iterator[bytes]:
        with self.open() as file:
            while piece := file.read(_PIECE):
                yield piece

    def head(self, size: int) -> bytes:
        with self.open() as file:
            return file.read(size)

    def read(self) -> bytes:
        return self.head(self.size)

    def sha256(self) -> str:
        if self.blob is not None:
            return self.blob
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()

    def store(self) -> str:
        """Makes a blob of it; returns its sha256."""
        if self.blob is not None:
            return self.blob
        name = self.sha256()
        with self.open() as file:
            blobs.put_file(file, self.size, name)
        return name


Contents = Mapping[str, Content]

#: So many small files are stored at a time.
_BATCH = 500


def store(files: Contents) -> dict[str, str]:
    """Makes blobs of all of them, in few statements; returns their sha256 by name."""
    stored = {name: content.store() for name, content in files.items() if content.size > blobs.INLINE}
    small = iter([name for name in files if name not in stored])
    while some := list(islice(small, _BATCH)):
        stored |= zip(some, blobs.put_all(files[name].read() for name in some), strict=True)
    return {name: stored[name] for name in files}


def of_bytes(content: bytes) -> Content:
    return Content(len(content), lambda: io.BytesIO(content))


def of_path(path: Path) -> Content:
    """A file of this machine."""
    return Content(path.stat().st_size, lambda: path.open("rb"))


def of_blob(sha256: str) -> Content:
    """Raises `Blob.DoesNotExist`."""
    blob = Blob.objects.get(pk=sha256)
    return Content(blob.size, lambda: blobs.opened(blob), sha256)
