"""What a job prints, bounded: its head and its tail are kept, and how much was left out between."""

import re

_HEAD = 16 * 1024
_TAIL = 48 * 1024
# Everything that moves a terminal's cursor or ends a database's text; line feeds and tabs stay. What ends lines or
# turns the direction of text in a page, so that it reads as what it is not.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """`text` without control characters and lone surrogates."""
    text = text.replace("\r\n", "\n").encode("utf-8", errors="replace").decode()
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


class BoundedLog:
    """Takes any amount of bytes, keeps at most 64 KiB of them."""

    def __init__(self) -> None:
        self._head, self._tail, self._dropped = bytearray(), bytearray(), 0

    def add(self, chunk: bytes) -> None:
        room = _HEAD - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[room:]
        if len(self._tail) > 2 * _TAIL:
            self._shorten()

    def text(self) -> str:
        self._shorten()
        gap = f"\n[… {self._dropped} bytes left out …]\n".encode() if self._dropped else b""
        return clean((bytes(self._head) + gap + bytes(self._tail)).decode("utf-8", errors="replace"))

    def _shorten(self) -> None:
        if (extra := len(self._tail) - _TAIL) > 0:
            self._dropped += extra
            del self._tail[:extra]
