"""A user for each zygote, where the runner is root: nobody else's, so that the kernel's oldest rules keep folds in too.

The zygote becomes it by itself (`lockdown.lock_zygote`); the supervisor stays root, and gives it its folders.
"""

import os
import pwd
import random
import re
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from . import system

#: What systemd gives to services for as long as they run: no system has accounts there.
USERS = range(61184, 65520)
#: Capabilities (capabilities(7)) without which root could not watch over another user's processes:
#: CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID, SETPCAP, SYS_PTRACE.
_NEEDED = sum(1 << bit for bit in (0, 1, 3, 5, 6, 7, 8, 19))
_PACKAGE = Path(__file__).resolve().parents[2]


def problem(scratch: Path) -> str:
    """Why folds that work below the folder `scratch` can't have a user of their own; "" if they can."""
    if not system.LINUX or os.geteuid() != 0:
        return "the runner is no root"
    if _capabilities() & _NEEDED != _NEEDED:
        return "it lacks capabilities of root"
    if not _is_known(USERS[0]) or not _is_known(USERS[-1]):
        return f"this container knows no users {USERS[0]} to {USERS[-1]}"
    closed = _closed(Path(sys.prefix), Path(sys.base_prefix), _PACKAGE, scratch / "jobs")
    return f"other users can't get into {closed}" if closed else ""


def pick() -> int:
    """A user that has no name and no process."""
    taken = {status.st_uid for status in map(_status, Path("/proc").glob("[0-9]*")) if status}
    return next(
        user for user in random.sample(USERS, len(USERS)) if user not in taken and not _has_name(user)
    )


def give(user: int, paths: Iterable[Path]) -> None:
    """Makes the files and folders its own, but for files that have another name too: those are the cache's."""
    for path in paths:
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode) or status.st_nlink == 1:
            os.chown(path, user, user, follow_symlinks=False)


def _closed(*paths: Path) -> Path | None:
    """The first folder on the way to one of these that is not open to everybody."""
    folders = (folder for path in paths for folder in reversed(path.resolve().parents))
    return next((folder for folder in folders if not folder.stat().st_mode & stat.S_IXOTH), None)


def _capabilities() -> int:
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_text(), re.M)
    return int(found[1], 16) if found else 0


def _is_known(user: int) -> bool:
    """Whether this user namespace maps it (user_namespaces(7))."""
    maps = (tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines())
    return any(first <= user < first + number for first, _, number in maps)


def _status(path: Path) -> os.stat_result | None:
    with suppress(OSError):  # it has just ended
        return path.stat()
    return None


def _has_name(user: int) -> bool:
    with suppress(KeyError):
        return bool(pwd.getpwuid(user))
    return False
