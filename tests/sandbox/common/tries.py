"""What a hostile submission tries, one thing after another. What was not refused is told by the error in the end."""

import ctypes
import errno
import os

LIBC = ctypes.CDLL(None, use_errno=True)
REFUSED = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP)


def system_call(name, *arguments):
    """What the system call gives; raises OSError."""
    from pyseccomp import resolve_syscall, system_arch

    number = resolve_syscall(system_arch(), name)
    result = LIBC.syscall(
        ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)
    )
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Tries:
    """Attempts, and which of them were not refused."""

    def __init__(self):
        self.succeeded = []

    def __call__(self, name, attempt, *arguments, **options):
        """Whatever it raises counts as refused."""
        try:
            attempt(*arguments, **options)
        except Exception:
            return
        self.succeeded.append(name)

    def call(self, name, *arguments):
        """The system call `name`, refused before its arguments are looked at."""
        try:
            system_call(name, *arguments)
        except OSError as error:
            if error.errno in REFUSED:
                return
        self.succeeded.append(name)

    def tell(self):
        if self.succeeded:
            raise AssertionError("not refused: " + ", ".join(self.succeeded))


def make_sure_that_it_is_contained():
    """Before it sends signals that would be the end of a whole machine, were it not for the sandbox."""
    try:
        os.kill(os.getppid(), 0)
    except PermissionError:
        return
    raise AssertionError("it can send signals to its parent")
