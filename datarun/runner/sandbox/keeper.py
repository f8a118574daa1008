"""The init of one job's process tree: forks the child, outlives it, and leaves no descendant behind.

``python -m datarun.runner.sandbox.keeper FOLDER STATUS EXIT``: STATUS and EXIT are inherited pipes, for the
child's reports and for this process's own last word. When its standard input ends (the supervisor says stop,
or is dead), everything below it is killed. It imports nothing of a submission.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from pathlib import Path

from .folder import JobFolder

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
#: What the interpreter and its libraries map beside what the job itself allocates.
_OVERHEAD = 512 << 20


def main() -> None:
    folder = JobFolder(Path(sys.argv[1]))
    status, exit_pipe = map(int, sys.argv[2:4])
    if sys.platform == "linux":
        # Orphans below this process become its children, so that none can leave the tree.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        for descriptor in (wake, wake_write, exit_pipe):
            os.close(descriptor)
        _be_child(folder, status)
    os.close(status)
    ended = _wait(child, wake)
    with contextlib.suppress(BrokenPipeError):
        os.write(exit_pipe, json.dumps(ended).encode())


def _be_child(folder: JobFolder, status: int) -> None:
    """Becomes the child: a session of its own, its limits, then the task. Never returns."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        task = folder.read_task()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (task.disk, task.disk))
        if sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_DATA, (task.memory + _OVERHEAD, task.memory + _OVERHEAD))
        from .child import Child  # not before the limits

        Child(folder, status).main(task)
        code = 0
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            # Neither threads that the submission left nor what it made of its output keep this process alive.
            os._exit(code)


def _wait(child: int, wake: int) -> dict[str, int | float]:
    """Waits for the child's end, or for the order to end it; returns how it ended once nothing is left."""
    ended: dict[str, int | float] = {}
    while not ended:
        ready, _, _ = select.select([sys.stdin, wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
        if sys.stdin in ready and not os.read(sys.stdin.fileno(), 1):
            break
        _reap(child, ended)
    while not _nothing_left(child, ended):
        _kill_descendants()
        time.sleep(0.002)
    return ended


def _reap(child: int, ended: dict[str, int | float]) -> None:
    """Collects every descendant that has ended; raises ChildProcessError when none is left."""
    while True:
        pid, status, usage = os.wait4(-1, os.WNOHANG)
        if pid == 0:
            return
        if pid == child:
            ended["code"] = os.waitstatus_to_exitcode(status)
            ended["max_rss"] = usage.ru_maxrss
            return


def _nothing_left(child: int, ended: dict[str, int | float]) -> bool:
    try:
        _reap(child, ended)
    except ChildProcessError:
        return True
    return False


def _kill_descendants() -> None:
    import psutil  # here, because most jobs leave nothing to kill

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


if __name__ == "__main__":
    main()
