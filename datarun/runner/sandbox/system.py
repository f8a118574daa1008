"""The system calls of Linux that Python's standard library does not offer. Calls only; no policy."""

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

LINUX = sys.platform == "linux"

# linux/prctl.h, linux/sched.h, linux/capability.h
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522
# linux/mount.h, linux/fcntl.h; the call's number is the same on every architecture
_MS_BIND, _MS_REC, _MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000
_LAST_CAPABILITY = 63

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    """``struct sock_fprog`` (linux/filter.h)."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def call(name: str, *arguments: Any) -> int:
    """What the function `name` of the C library returns; raises OSError if that is negative."""
    result = int(getattr(_libc, name)(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def syscall(number: int, *arguments: Any) -> int:
    """The same for a system call that has no function of its own."""
    longs = [value if not isinstance(value, int) else ctypes.c_long(value) for value in arguments]
    return call("syscall", ctypes.c_long(number), *longs)


def _prctl(option: int, value: Any) -> None:
    call("prctl", option, value, *map(ctypes.c_ulong, (0, 0, 0)))


def adopt_orphans() -> None:
    """Orphaned descendants become this process's children, rather than init's."""
    _prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1))


def die_with_parent(signal: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal))


def no_new_privileges() -> None:
    """No setuid program gives this process and its descendants anything any more."""
    _prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1))


def filter_system_calls(program: bytes) -> None:
    """Attaches a seccomp filter, for good: `program` is BPF, 8 bytes an instruction (seccomp(2))."""
    attached = _Program(len(program) // 8, program)
    call("prctl", _PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(attached))


def drop_capabilities(user: int | None = None) -> None:
    """Gives up every capability (capabilities(7)): what remains of root is its user id, or not even that, if it
    becomes `user` on the way."""
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            _prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability))
        except OSError:
            break  # not root, or past the last one that this kernel knows
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        _prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(1))  # its own /proc is its own, as after exec
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    call("capset", ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))


def advise(address: int, length: int, advice: int) -> None:
    """Tells the kernel what to do with a piece of this process's memory (madvise(2))."""
    call("madvise", ctypes.c_void_p(address), ctypes.c_size_t(length), advice)


def protect(address: int, length: int, access: int) -> None:
    """What this process may do with a piece of its memory (mprotect(2))."""
    call("mprotect", ctypes.c_void_p(address), ctypes.c_size_t(length), access)


def bind(folder: Path) -> None:
    """Makes `folder` a mount of its own."""
    call("mount", os.fsencode(folder), os.fsencode(folder), None, ctypes.c_ulong(_MS_BIND), None)


def mounts_stay_here() -> None:
    """What is mounted from now on in this namespace is mounted in no other."""
    call("mount", None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)


def mount_read_only(folder: Path, on: bool) -> None:
    """The mount at `folder` becomes read-only, with all below; or writable again, without those (mount_setattr(2))."""
    attributes = (ctypes.c_uint64 * 4)(on, not on, 0, 0)
    flags = _AT_RECURSIVE if on else 0
    path = ctypes.c_char_p(os.fsencode(folder))
    syscall(_MOUNT_SETATTR, _AT_FDCWD, path, flags, ctypes.byref(attributes), ctypes.sizeof(attributes))
