"""Semaphores for `multiprocessing` and joblib in a fold, made of pipes.

The usual ones have names in /dev/shm, which every fold could see. These have none: a process inherits them from
the one that forks it, so they serve threads and forked processes, not spawned ones.
"""

import array
import contextlib
import fcntl
import os
import select
import termios
import threading
import time

_RECURSIVE = 0  # the other kind counts
_ROOM = 1 << 15  # bytes that fit into a pipe wherever its pages begin and end (pipe(7))


class PipeSemaphore:
    """Stands in for `_multiprocessing.SemLock`: a byte in the pipe for each time that it can be acquired."""

    SEM_VALUE_MAX = _ROOM

    def __init__(self, kind: int, value: int, maxvalue: int, name: str, unlink: bool) -> None:
        self.kind, self.maxvalue, self.name = kind, maxvalue, None
        self._owner, self._held = 0, 0
        self.handle, self._tokens = os.pipe()
        os.set_blocking(self.handle, False)
        os.set_blocking(self._tokens, False)
        os.write(self._tokens, bytes(min(value, _ROOM)))

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        if self.kind == _RECURSIVE and self._is_mine():
            self._held += 1
            return True
        until = None if timeout is None else time.monotonic() + timeout
        while not self._take():
            left = None if until is None else until - time.monotonic()
            if not block or (left is not None and left <= 0):
                return False
            select.select([self.handle], [], [], left)
        self._owner, self._held = threading.get_ident(), self._held + 1
        return True

    def _take(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            return os.read(self.handle, 1) != b""
        return False

    def release(self) -> None:
        if self.kind == _RECURSIVE:
            if not self._is_mine():
                raise AssertionError("attempt to release recursive lock not owned by thread")
            if self._held > 1:
                self._held -= 1
                return
        elif self._get_value() >= self.maxvalue:
            raise ValueError("semaphore or lock released too many times")
        self._held -= 1
        os.write(self._tokens, b"\0")

    __enter__ = acquire

    def __exit__(self, *_: object) -> None:
        self.release()

    def _count(self) -> int:
        return self._held

    def _is_mine(self) -> bool:
        return self._held > 0 and self._owner == threading.get_ident()

    def _get_value(self) -> int:
        waiting = array.array("i", [0])
        fcntl.ioctl(self.handle, termios.FIONREAD, waiting)
        return waiting[0]

    def _is_zero(self) -> bool:
        return self._get_value() == 0

    def _after_fork(self) -> None:
        self._held = 0

    def __del__(self) -> None:
        for descriptor in (self.handle, self._tokens):
            with contextlib.suppress(OSError):
                os.close(descriptor)


def install() -> None:
    """Makes `multiprocessing` use them, and joblib threads where it would spawn processes."""
    import _multiprocessing  # type: ignore[import-not-found]

    _multiprocessing.SemLock = PipeSemaphore
    import joblib
    from joblib.parallel import ThreadingBackend

    for name in ("loky", "multiprocessing"):
        joblib.register_parallel_backend(name, ThreadingBackend)
