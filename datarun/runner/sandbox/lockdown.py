"""What a zygote and its children may still do, and in what order they give the rest up.

Everything that this machine has is used. What can't be undone is done before the first line of foreign code:
before numpy in a zygote, before the submission in a child.
"""

import functools
import os
import resource
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from . import landlock, seccomp, system
from .landlock import READ, USE, WRITE

#: What Python and native libraries read beside their own installation. Nothing here differs between users.
_SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/fonts"),
    *("/dev/zero", "/dev/random", "/dev/urandom"),
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/filesystems", "/proc/version"),
    *("/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/cap_last_cap", "/proc/sys/kernel/osrelease"),
    *("/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/kernel/mm/transparent_hugepage"),
)
#: A zygote may see all of it, so that each child may see its own: the memory of others is closed to both.
_PROCESSES = Path("/proc")
#: Folders of the root that hold nothing of any job.
_WHOLE = ("usr", "lib", "etc", "dev", "sys")
_USED = ("/dev/null", "/dev/full")
_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x20000  # CLONE_NEWUSER, CLONE_NEWNS
_NEW_OTHERS = 0x40000000 | 0x08000000 | 0x04000000  # CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS
#: What the interpreter and its libraries map beside what the job itself allocates.
_OVERHEAD = 512 << 20
_OPEN_FILES = 4096
#: Processes and threads of one fold: what several libraries start at a time, each for all processors. So few that
#: a fork bomb meets it in seconds, and is gone in seconds: to fork one of this size takes 10 ms, to end it as much.
MAX_PROCESSES = 128 + 4 * (os.cpu_count() or 1)
#: Where the whole machine's memory ends, the kernel ends a fold, neither the runner nor anybody else.
_OOM, _FIRST = Path("/proc/self/oom_score_adj"), "800"
#: Folds wait for those who watch and end them.
_NICE = 10


def lock_zygote(folder: Path) -> None:
    """For a zygote in `folder`, before it imports anything foreign. It becomes whoever `folder`/jobs belongs to."""
    if not system.LINUX:
        return
    system.adopt_orphans()
    with suppress(OSError):
        _OOM.write_text(_FIRST)
    with suppress(OSError):
        _enter_namespaces()
        _leave_no_traces(folder / "jobs")
    owner = (folder / "jobs").stat().st_uid
    system.drop_capabilities(owner if owner != os.geteuid() else None)
    _limit_processes()
    system.no_new_privileges()
    _restrict([(folder, READ), (folder / "jobs", WRITE), (_PROCESSES, READ)])
    if seccomp.available():
        system.filter_system_calls(seccomp.for_zygote())
        system.filter_system_calls(seccomp.known_requests_only())


def prepare_children() -> None:
    """For a zygote: works out, once, what `lock_child` needs."""
    _parents()
    if seccomp.available():
        seccomp.for_fold(0)


def lock_data(readable: Iterable[Path], writable: Path) -> None:
    """For a zygote that is about to load X: no raw data any more but what the data set names."""
    _restrict([(writable, WRITE), *((path, READ) for path in (*readable, _PROCESSES))])


def lock_child(writable: Iterable[Path], readable: Iterable[Path]) -> None:
    """For a child that leads its session already, before it runs anything of a submission or a module."""
    os.nice(_NICE)
    if not system.LINUX:
        return
    # The zygote's own layer holds on: this one only has to shut the child off from other jobs.
    given = (*_parents(), _PROCESSES / str(os.getpid()), *readable)
    _restrict_to(
        [*((path, READ) for path in given), *((path, WRITE) for path in writable), (Path("/dev"), USE)]
    )
    if seccomp.available():
        system.filter_system_calls(seccomp.for_fold(os.getpid()))
        if not landlock.scopes_signals():
            system.filter_system_calls(seccomp.own_signals_only(os.getpid()))


def _restrict(rules: Iterable[tuple[Path, int]]) -> None:
    common = [(path, READ) for path in _installed()] + [(Path(path), USE) for path in _USED]
    _restrict_to((*common, *rules))


def _restrict_to(rules: Iterable[tuple[Path, int]]) -> None:
    if landlock.version():
        landlock.restrict(rules)


def _installed() -> list[Path]:
    """What every process of a job may read."""
    return [Path(path) for path in (sys.prefix, sys.base_prefix, _PACKAGE, *_SYSTEM)]


def everybodys(folder: Path) -> Path | None:
    """The folder in which every submission may read, if `folder` is in one: no place for what is not for all."""
    folder = folder.resolve()
    whole = [Path("/", name) for name in _WHOLE]
    return next((path for path in (*whole, *_installed()) if folder.is_relative_to(path.resolve())), None)


@functools.cache
def _parents() -> list[Path]:
    """The fewest folders and files that cover the same, found once: each costs a child as much as any other."""
    there = {path.resolve() for path in _installed() if path.exists()}
    tops = {Path(*path.parts[:2]) if path.parts[1] in _WHOLE else path for path in there}
    return [path for path in tops if not any(other in path.parents for other in tops)]


_PACKAGE = Path(__file__).resolve().parents[2]


def _enter_namespaces() -> None:
    """No network interface, no System V memory and no host name to share, even if a filter should miss a way."""
    user, group = os.geteuid(), os.getegid()
    system.call("unshare", _NEW_OTHERS if user == 0 else _NEW_USER | _NEW_OTHERS)
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _leave_no_traces(writable: Path) -> None:
    """Nothing changes but what is in `writable`: not even when a file was last read, by which one fold could tell
    something to the next."""
    system.call("unshare", _NEW_MOUNTS)
    system.mounts_stay_here()
    system.bind(writable)
    system.mount_read_only(Path("/"), on=True)
    system.mount_read_only(writable, on=False)


def _limit_processes() -> None:
    """Root's are not limited this way, only by a control group and by being counted."""
    if (user := os.geteuid()) != 0:
        owned = [path for path in Path("/proc").glob("[0-9]*/task/*") if _owner(path) == user]
        _set_limit(resource.RLIMIT_NPROC, len(owned) + 2 * MAX_PROCESSES)


def _owner(path: Path) -> int | None:
    with suppress(OSError):  # it has just ended
        return path.stat().st_uid
    return None


def limit_child(memory: int, disk: int) -> None:
    """The same, once its task is known. Bytes of one process's private memory, and of one file."""
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: disk,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
    }
    if system.LINUX:
        limits[resource.RLIMIT_DATA] = memory + _OVERHEAD
        limits[resource.RLIMIT_MSGQUEUE] = 0
        limits[resource.RLIMIT_MEMLOCK] = 0
    for name, value in limits.items():
        _set_limit(name, value)


def _set_limit(name: int, value: int) -> None:
    _, hard = resource.getrlimit(name)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(name, (value, value))
