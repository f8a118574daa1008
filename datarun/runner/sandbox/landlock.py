"""Landlock (landlock(7)): which files a process and its descendants may open, from now on and for good.

Rules name files and folders; a folder's rule covers all below it. Each call adds a layer: what an earlier one
refused stays refused. Landlock does not look at changes of mode or owner: `seccomp` does.
"""

import ctypes
import functools
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from . import system

# linux/landlock.h; the numbers of these calls are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = (1 << bit for bit in range(4))
_MAKE_CHAR, _MAKE_BLOCK, _MAKE_SOCK = 1 << 6, 1 << 11, 1 << 9
_TRUNCATE = 1 << 14
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | 1 << 15
#: How many rights to files each version of Landlock handles.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_NETWORK_FROM, _TCP = 4, 0b11
_SCOPES_FROM, _SCOPES = 6, 0b11  # abstract sockets, signals

READ = _EXECUTE | _READ_FILE | _READ_DIR
#: Everything but sockets and devices.
WRITE = ((1 << 16) - 1) & ~(_MAKE_CHAR | _MAKE_BLOCK | _MAKE_SOCK)
#: For /dev/null: written to, not replaced.
USE = _READ_FILE | _WRITE_FILE


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("parent", ctypes.c_int32))


@functools.cache
def version() -> int:
    """The version of Landlock that this kernel has in force; 0 without any."""
    if not system.LINUX:
        return 0
    with suppress(OSError):
        return system.syscall(_CREATE_RULESET, None, 0, _VERSION)
    return 0


def scopes_signals() -> bool:
    """Whether a restricted process can signal only processes under the same restriction."""
    return version() >= _SCOPES_FROM


def restrict(rules: Iterable[tuple[Path, int]]) -> None:
    """Refuses all access to files but `rules`: paths, and `READ`, `WRITE` or `USE`. Those that are not there
    give nothing. The calling thread must be the only one, and have no way to new privileges."""
    known = version()
    handled = (1 << _RIGHTS[min(known, max(_RIGHTS))]) - 1
    attributes = _Ruleset(
        handled, _TCP if known >= _NETWORK_FROM else 0, _SCOPES if known >= _SCOPES_FROM else 0
    )
    ruleset = system.syscall(
        _CREATE_RULESET,
        ctypes.byref(attributes),
        ctypes.sizeof(attributes) if known >= _SCOPES_FROM else (16 if known >= _NETWORK_FROM else 8),
        0,
    )
    try:
        for path, access in rules:
            _allow(ruleset, path, access & handled)
        system.syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, access: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            access &= _OF_FILES
        rule = _PathBeneath(access, parent)
        system.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(parent)
