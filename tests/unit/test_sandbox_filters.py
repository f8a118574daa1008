"""The filters that are written by hand: system calls with one of some values of an argument, and no others."""

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import sys
import termios
from collections.abc import Callable

import pytest

from datarun.runner.sandbox import seccomp, system

pytestmark = pytest.mark.skipif(
    not seccomp.available() or sys.byteorder != "little", reason="needs Linux and libseccomp"
)


def under(program: Callable[[], bytes], attempts: Callable[[], list[object]]) -> list[object]:
    """What the attempts give in a process that has attached the filter."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            system.no_new_privileges()
            system.filter_system_calls(program())
            os.write(write, repr(attempts()).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as file:
        found = eval(file.read())
    assert isinstance(found, list)
    return found


def error_of(call: Callable[..., object], *arguments: object) -> int:
    try:
        call(*arguments)
    except OSError as error:
        return error.errno or 0
    return 0


def test_only_requests_without_lasting_effect_reach_the_kernel() -> None:
    def attempts() -> list[object]:
        with open(os.devnull) as file:
            requests = (termios.FIOCLEX, termios.FIONCLEX, termios.TCGETS, 0x80086601, 0x5412, 0x8901)
            return [error_of(fcntl.ioctl, file, request, bytes(64)) for request in requests]

    allowed, refused = [0, 0, errno.ENOTTY], [errno.ENOTTY] * 3
    assert under(seccomp.known_requests_only, attempts) == allowed + refused


def test_requests_are_refused_before_their_descriptor_is_looked_at() -> None:
    def attempts() -> list[object]:
        return [error_of(fcntl.ioctl, 999, request) for request in (termios.FIOCLEX, 0x80086601)]

    assert under(seccomp.known_requests_only, attempts) == [errno.EBADF, errno.ENOTTY]


def test_a_fold_without_landlocks_scopes_signals_its_group_and_first_process_only() -> None:
    parent = os.getpid()

    def attempts() -> list[object]:
        os.setpgid(0, 0)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        own = os.getpid()
        system.filter_system_calls(seccomp.own_signals_only(own))
        tgkill = ctypes.CDLL(None, use_errno=True).tgkill
        found: list[object] = [
            error_of(os.kill, target, signal.SIGUSR1)
            for target in (own, 0, -own, parent, -1, -parent, 1, own + 1)
        ]
        return [*found, tgkill(own, own, signal.SIGUSR1), tgkill(parent, parent, 0)]

    allowed, refused = [0] * 3, [errno.EPERM] * 5
    assert under(seccomp.known_requests_only, attempts) == [*allowed, *refused, 0, -1]


@pytest.mark.parametrize(
    ("target", "number", "ended_by"),
    [
        ("own", signal.SIGKILL, signal.SIGSYS),
        ("group", signal.SIGKILL, signal.SIGSYS),
        ("all", signal.SIGKILL, signal.SIGSYS),
        ("own", signal.SIGTERM, signal.SIGTERM),
        ("child", signal.SIGKILL, None),
    ],
)
def test_a_sigkill_that_a_fold_sends_itself_is_told_from_one_from_outside(
    target: str, number: int, ended_by: int | None
) -> None:
    program = seccomp.for_fold(0)
    assert program
    process = os.fork()
    if process == 0:
        os.setsid()
        own = os.getpid()
        child = os.fork()
        if child == 0:
            signal.pause()
        system.no_new_privileges()
        system.filter_system_calls(seccomp.for_fold(own))
        targets = {"own": own, "group": 0, "all": -1, "child": child}
        if target == "all":  # should the filter fail, then not for this machine
            targets["all"] = -1 if _refuses_before_it_is_sent() else own
        os.kill(targets[target], number)
        os._exit(0)
    _, status = os.waitpid(process, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    assert (os.WTERMSIG(status) if os.WIFSIGNALED(status) else None) == ended_by


def _refuses_before_it_is_sent() -> bool:
    """Whether a child of this process ends by SIGSYS when it kills its group, which is all that it could harm."""
    if (child := os.fork()) == 0:
        os.kill(0, signal.SIGKILL)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSYS
