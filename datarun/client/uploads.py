"""Large files go up in pieces, and what was cut short goes on where it ended, also in another process.

The protocol is the core of tus 1.0 (https://tus.io/protocols/resumable-upload).
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

from .errors import NotFound, PlatformFailed, Refused
from .transport import Transport

#: Bytes of one request: what has to be sent again if it is cut short.
PIECE = 8 << 20
#: How often, and after how many seconds each, an upload is looked at that something else seems to write to.
_LOOKS, _PAUSE = 30, 0.5

#: Called with the number of bytes that the platform has so far, and how many there are.
Progress = Callable[[int, int], None]


def upload(
    transport: Transport,
    path: Path,
    progress: Progress | None = None,
    piece: int = PIECE,
    memory: Path | None = None,
) -> str:
    """Sends a file; returns the id of the upload, to be named in the request that makes use of it.

    `memory` is the file that unfinished uploads are noted in, by default one in the user's own state folder.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        unfinished = _Unfinished(memory or _memory(), f"{transport.url} {sha256}")
        id, offset = _begin(transport, unfinished, size, sha256)
        while True:
            if progress is not None:
                progress(offset, size)
            if offset == size:
                break
            file.seek(offset)
            offset = _send(transport, id, offset, file.read(piece))
    unfinished.forget()
    return id


def _begin(transport: Transport, unfinished: "_Unfinished", size: int, sha256: str) -> tuple[str, int]:
    """An upload, and how many bytes of it the platform has."""
    if id := unfinished.id():
        try:
            return id, _offset(transport, id)
        except NotFound:  # it was too long ago, or somebody else's
            unfinished.forget()
    made = transport.post("uploads/", {"size": size, "sha256": sha256})
    unfinished.note(str(made["id"]))
    return str(made["id"]), int(made["offset"])


def _send(transport: Transport, id: str, offset: int, content: bytes) -> int:
    """Returns how many bytes the platform has now; raises `PlatformFailed` if these are not more than before."""
    headers = {
        "Content-Type": "application/offset+octet-stream",
        "Upload-Offset": str(offset),
        "Tus-Resumable": "1.0.0",
    }
    for _ in range(_LOOKS):
        try:
            reached = int(transport.send_bytes("PATCH", f"uploads/{id}/", headers, content)["Upload-Offset"])
        except Refused as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            # Another try has brought some of it already, and its answer got lost; or it is still being written.
            reached = _offset(transport, id)
            if reached == offset:
                time.sleep(_PAUSE)
                continue
        break
    if reached <= offset:
        raise PlatformFailed(f"Upload {id} does not get on: the platform has {reached} bytes of it.")
    return reached


def _offset(transport: Transport, id: str) -> int:
    return int(transport.send_bytes("HEAD", f"uploads/{id}/", {"Tus-Resumable": "1.0.0"})["Upload-Offset"])


def _memory() -> Path:
    import platformdirs

    return platformdirs.user_state_path("datarun") / "uploads.json"


class _Unfinished:
    """Remembers one upload's id. What can't be remembered is sent from its beginning another time: no error."""

    def __init__(self, memory: Path, key: str) -> None:
        self._memory, self._key = memory, key

    def id(self) -> str:
        return self._all().get(self._key, "")

    def note(self, id: str) -> None:
        self._write(self._all() | {self._key: id})

    def forget(self) -> None:
        self._write({key: id for key, id in self._all().items() if key != self._key})

    def _all(self) -> dict[str, str]:
        with suppress(OSError, ValueError):
            found = json.loads(self._memory.read_text())
            if isinstance(found, dict):
                return {str(key): str(id) for key, id in found.items()}
        return {}

    def _write(self, content: dict[str, str]) -> None:
        with suppress(OSError):
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            new = self._memory.with_suffix(f".{os.getpid()}")
            new.write_text(json.dumps(content))
            new.replace(self._memory)
