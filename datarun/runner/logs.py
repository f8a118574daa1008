"""What a running job prints, piece by piece for the master: in order, and not more than it will keep."""

import time

from datarun.contract.messages import LogChunk

from .sandbox.log import clean

_PERIOD = 0.5  # seconds between two pieces
_MOST = 64 * 1024  # bytes of one job; the outcome brings head and tail of a longer log


class LogStream:
    """Gathers output and gives it out as `LogChunk` from time to time."""

    def __init__(self, job: str, attempt: int, runner: str) -> None:
        self._job, self._attempt, self._runner = job, attempt, runner
        self._pending, self._sent, self._next = bytearray(), 0, 0.0

    def add(self, chunk: bytes) -> None:
        room = _MOST - self._sent - len(self._pending)
        self._pending += chunk[: max(0, room)]

    def due(self) -> LogChunk | None:
        """The next piece, if there is one and it is time."""
        if not self._pending or time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + _PERIOD
        piece, self._pending = _whole_characters(self._pending)
        text = clean(piece.decode("utf-8", errors="replace"))
        chunk = LogChunk(self._job, self._attempt, self._runner, self._sent, text)
        self._sent += len(piece)
        return chunk


def _whole_characters(content: bytearray) -> tuple[bytes, bytearray]:
    """Splits before a UTF-8 character whose end has not come yet."""
    for back in range(1, min(4, len(content)) + 1):
        byte = content[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:  # the first byte of a character of this many bytes
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            if wanted > back:
                return bytes(content[:-back]), content[-back:]
            break
    return bytes(content), bytearray()
