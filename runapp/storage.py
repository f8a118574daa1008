"""Where large blobs are kept by default: a folder in which a file is there as a whole, or not at all."""

import os
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING, Any

from django.core.files.base import File
from django.core.files.storage import FileSystemStorage

if TYPE_CHECKING:
    AnyFile = File[Any]
else:  # generic for type checkers only
    AnyFile = File


class BlobFolder(FileSystemStorage):
    """Django's own would leave the beginning of a file under its name when the disk is full or the process killed."""

    def direct_url(self, name: str) -> str | None:
        """Where to fetch the file `name` without credentials: nowhere, it is handed out by the web."""
        return None

    def _save(self, name: str, content: AnyFile) -> str:
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = mkstemp(dir=path.parent, prefix=".")
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in content.chunks():
                    file.write(chunk)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink()
            raise
        return name
