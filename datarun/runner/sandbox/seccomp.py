"""Which system calls are refused (seccomp(2)), compiled by libseccomp: a filter for the zygote, one more for a fold.

The zygote's filter holds for folds too. What is refused has no place in training a model: other processes'
memory, namespaces, mounts, the kernel's less walked paths. Sockets of every family are refused here, since
Landlock does not stop a connect to a socket that has a path. Files are Landlock's.
"""

import ctypes.util
import errno
import fcntl
import functools
import os
import resource
import signal
import socket
import struct
import termios
from collections.abc import Sequence
from typing import Any

from . import landlock, system

_NETWORK = ("socket", "connect", "bind", "listen", "accept", "accept4", "setsockopt")
_OTHER_PROCESSES = (
    *("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "process_madvise"),
    *("process_mrelease", "migrate_pages", "move_pages", "pidfd_send_signal", "rt_tgsigqueueinfo"),
    "rt_sigqueueinfo",
)
_MOUNTS = (
    *("mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig"),
    *("fsmount", "fspick", "mount_setattr", "name_to_handle_at", "open_by_handle_at", "setns", "unshare"),
    "open_tree_attr",
)
_KERNEL = (
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("keyctl", "add_key", "request_key", "fanotify_init", "init_module", "finit_module", "delete_module"),
    *("kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "syslog", "acct", "quotactl"),
    *("quotactl_fd", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname"),
    *("setdomainname", "iopl", "ioperm", "modify_ldt", "nfsservctl", "lookup_dcookie", "vhangup"),
    # Landlock does not hide what happens to files from those who watch them; both are also scarce, for all users.
    *("inotify_init", "inotify_init1", "inotify_add_watch", "io_setup"),
)
#: System V's and POSIX's memory and messages have names that any fold could use to meet another.
_SHARED = (
    *("shmget", "shmat", "shmctl", "semget", "semop", "semtimedop", "semctl"),
    *("msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink"),
)
_OWNERS = (
    *("chown", "lchown", "fchown", "fchownat", "setxattr", "lsetxattr", "fsetxattr", "setxattrat"),
    *("removexattr", "lremovexattr", "fremovexattr", "removexattrat", "file_setattr"),
)
_TIMES = ("utime", "utimes", "utimensat", "futimesat")
#: They appear to work, because much harmless code copies modes; Landlock does not look at them.
_PRETENDED = ("chmod", "fchmod", "fchmodat", "fchmodat2")
#: Their first argument names a process: only the calling one, as 0.
_ON_ITSELF = ("prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr")
_PRIO_PROCESS, _IOPRIO_WHO_PROCESS = 0, 1
_NAMESPACES = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)  # CLONE_NEW*
_F_SETSIG, _F_SETOWN_EX = 10, 15
#: All that a file's user may ask a device or a file system for; there are many ways to change what it is.
_REQUESTS = (
    *(termios.TCGETS, termios.TIOCGPGRP, termios.TIOCGWINSZ, termios.FIONREAD, termios.FIONBIO),
    *(termios.FIOCLEX, termios.FIONCLEX),
)
#: Files without a name use memory or disk that nobody sees; a descriptor on its way between sockets has no owner.
_UNSEEN = ("memfd_create", "memfd_secret", "sendmsg", "sendmmsg")
#: What of a file others have read of late: which pages of it are in memory. One fold could tell another by it.
_CACHE = ("mincore", "cachestat")
_RWF_NOWAIT = 8
#: Locks on files that every fold may read would be seen by all. Libraries take "not here" for an answer.
_LOCKS = (fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW, 36, 37, 38)  # F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW
_PR_SET_DUMPABLE = 4
_O_ACCMODE, _O_TRUNC = 0o3, 0o1000
#: Younger than some libseccomp in use; the same numbers on every architecture.
_NEW = {
    **{"cachestat": 451, "fchmodat2": 452, "setxattrat": 463, "removexattrat": 466},
    **{"open_tree_attr": 467, "file_setattr": 469},
}
#: No process has this number: Linux's end at 2^22 (proc(5), pid_max).
_LEADER = 0x5EEDF01D
_TRUNCATING_FROM = 3  # the version of Landlock that looks at truncation


@functools.cache  # looking for the library starts a program
def available() -> bool:
    """Whether this system has seccomp, and libseccomp."""
    return system.LINUX and ctypes.util.find_library("seccomp") is not None


def for_zygote() -> bytes:
    """The filter for the zygote and all that it forks."""
    rules = _Rules()
    for name in (*_NETWORK, *_OTHER_PROCESSES, *_MOUNTS, *_KERNEL, *_SHARED, *_OWNERS, *_TIMES):
        rules.refuse(name)
    for name in _PRETENDED:
        rules.add(rules.lib.ERRNO(0), name)
    for name in _ON_ITSELF:
        rules.refuse(name, rules.differs(0, 0))
    for name, which in (("setpriority", _PRIO_PROCESS), ("ioprio_set", _IOPRIO_WHO_PROCESS)):
        rules.refuse(name, rules.differs(0, which))
        rules.refuse(name, rules.differs(1, 0))
    rules.add(
        rules.lib.ERRNO(errno.ENOSYS), "clone3"
    )  # its flags can't be seen; libraries fall back to clone
    for flag in _NAMESPACES:
        rules.refuse("clone", rules.has(0, flag, flag))
    # Who holds a lease on a file keeps everybody else waiting who opens it.
    for command in (fcntl.F_SETOWN, _F_SETOWN_EX, _F_SETSIG, fcntl.F_SETLEASE, fcntl.F_NOTIFY):
        rules.refuse("fcntl", rules.equals(1, command))
    # It could take a whole disk at once, beyond what limits a file's size; the C library writes zeros instead.
    rules.add(rules.lib.ERRNO(errno.EOPNOTSUPP), "fallocate")
    # A pair of datagram sockets could send to any socket that has a path.
    rules.refuse("socketpair", rules.differs(0, socket.AF_UNIX))
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        rules.refuse("socketpair", rules.has(1, 0xF, kind))
    if landlock.version() < _TRUNCATING_FROM:
        rules.refuse("truncate")
        rules.refuse("open", rules.has(1, _O_ACCMODE | _O_TRUNC, _O_TRUNC))
        rules.refuse("openat", rules.has(2, _O_ACCMODE | _O_TRUNC, _O_TRUNC))
    return rules.program()


def known_requests_only() -> bytes:
    """A second filter for the zygote and all that it forks: of all ioctl(2), what has no lasting effect."""
    return b"".join((*_only("ioctl", 1, _REQUESTS, errno.ENOTTY), _instruction(_RETURN, _ALLOW)))


def for_fold(leader: int) -> bytes:
    """The filter for a fold, whose first process `leader` leads its session and its process group.

    Nothing leaves the group. Who sends SIGKILL to that process, or to the group, ends with SIGSYS: so a SIGKILL
    that the fold met was not its own.
    """
    program = _fold_program()
    for placeholder, value in ((_LEADER, leader), (-_LEADER, -leader)):
        program = program.replace(_word(placeholder), _word(value))
    return program


@functools.cache
def _fold_program() -> bytes:
    """The same for the leader `_LEADER`: compiled once, in the zygote, since that takes milliseconds."""
    rules = _Rules()
    rules.refuse("setsid")
    rules.refuse("setpgid")
    for name in _UNSEEN:
        rules.refuse(name)
    rules.refuse("prctl", rules.equals(0, _PR_SET_DUMPABLE))  # who hides from the supervisor's looks
    for name in _CACHE:
        rules.refuse(name)
    rules.add(rules.lib.ERRNO(errno.EOPNOTSUPP), "preadv2", rules.has(5, _RWF_NOWAIT, _RWF_NOWAIT))
    rules.add(rules.lib.ERRNO(0), "fadvise64")  # it is advice
    rules.add(rules.lib.ERRNO(errno.ENOSYS), "flock")
    for command in _LOCKS:
        rules.add(rules.lib.ERRNO(errno.ENOSYS), "fcntl", rules.equals(1, command))
    _refuse_unseen_kills(rules)
    for target in (0, -1, _LEADER, -_LEADER):
        rules.add(rules.lib.KILL_PROCESS, "kill", rules.equals(0, target), rules.equals(1, signal.SIGKILL))
    rules.add(rules.lib.KILL_PROCESS, "tkill", rules.equals(1, signal.SIGKILL))
    rules.add(rules.lib.KILL_PROCESS, "tgkill", rules.equals(0, _LEADER), rules.equals(2, signal.SIGKILL))
    program = rules.program()
    assert _word(_LEADER) in program
    assert _word(-_LEADER) in program
    return program


def _refuse_unseen_kills(rules: "_Rules") -> None:
    """The ways to have the kernel send SIGKILL to oneself, so that it seems to come from outside."""
    rules.refuse("timer_create")
    rules.refuse("clone", rules.has(0, 0xFF, signal.SIGKILL))  # what the parent gets when the child ends
    rules.refuse("setrlimit", rules.equals(0, resource.RLIMIT_CPU))
    rules.refuse("prlimit64", rules.equals(1, resource.RLIMIT_CPU), rules.lib.Arg(2, rules.lib.NE, 0))


def _word(value: int) -> bytes:
    return struct.pack("=I", value & 0xFFFFFFFF)


def own_signals_only(leader: int) -> bytes:
    """A filter more for a fold, where Landlock does not scope signals: none but to its own group and its first
    process."""
    program = _only("kill", 0, (0, leader, -leader), errno.EPERM)
    for name in ("tkill", "tgkill"):
        program += _only(name, 0, (leader,), errno.EPERM)
    return b"".join((*program, _instruction(_RETURN, _ALLOW)))


def _only(name: str, argument: int, values: Sequence[int], otherwise: int) -> list[bytes]:
    """Instructions that end calls of `name` with the error `otherwise` unless `argument` is one of `values`.

    Written by hand, since libseccomp can't say "none of these values".
    """
    checks = [
        _instruction(_LOAD, _ARGUMENTS + 8 * argument),
        *(_instruction(_JUMP_IF_EQUAL, value, len(values) - i) for i, value in enumerate(values)),
        _instruction(_RETURN, _ERRNO | otherwise),
        _instruction(_RETURN, _ALLOW),
    ]
    number = _Rules().number(name)
    return [_instruction(_LOAD, 0), _instruction(_JUMP_IF_EQUAL, number, 0, len(checks)), *checks]


# linux/filter.h, linux/seccomp.h: load a word, jump if it equals, return; where the arguments are.
_LOAD, _JUMP_IF_EQUAL, _RETURN, _ARGUMENTS = 0x20, 0x15, 0x06, 16
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value & 0xFFFFFFFF)


class _Rules:
    """A filter that is being made: everything is allowed but what is added."""

    def __init__(self) -> None:
        import pyseccomp  # looks for libseccomp, which not every system has

        self.lib = pyseccomp
        self._filter = pyseccomp.SyscallFilter(pyseccomp.ALLOW)

    def refuse(self, name: str, *conditions: Any) -> None:
        self.add(self.lib.ERRNO(errno.EPERM), name, *conditions)

    def add(self, action: int, name: str, *conditions: Any) -> None:
        """`action` for calls of `name` that meet all conditions. Calls that this architecture does not
        have are left out."""
        if (number := self.number(name)) >= 0:
            self._filter.add_rule(action, number, *conditions)

    def number(self, name: str) -> int:
        """The number of a system call; negative if this architecture has none."""
        return _NEW.get(name) or int(self.lib.resolve_syscall(self.lib.system_arch(), name))

    def equals(self, argument: int, value: int) -> Any:
        return self.has(argument, 0xFFFFFFFF, value)

    def differs(self, argument: int, value: int) -> Any:
        return self.lib.Arg(argument, self.lib.NE, value & 0xFFFFFFFF)

    def has(self, argument: int, mask: int, value: int) -> Any:
        """Arguments are ints: their upper half is whatever the register held before."""
        return self.lib.Arg(argument, self.lib.MASKED_EQ, mask, value & mask)

    def program(self) -> bytes:
        with os.fdopen(os.memfd_create("filter"), "r+b") as file:
            self._filter.export_bpf(file)
            file.seek(0)
            return file.read()
