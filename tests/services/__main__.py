"""``python -m tests.services run [postgres] [rabbitmq] -- COMMAND ...``: a command, with servers around it.

Starts the servers (as root it installs missing ones first), runs the command with their URLs in its
environment, ends whatever processes the command left behind, stops the servers, and exits with the command's
code (128 + n if signal n ended it). Signals go on to the command.
"""

import argparse
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import FrameType

import psutil

from tests.services import Postgres, RabbitMQ, ServerError, debian, server_folder
from tests.services.server import Server, await_end, kill

#: Each service by name, and the variable that tells the command its URL.
SERVICES: dict[str, tuple[type[Server], str]] = {
    "postgres": (Postgres, "DATABASE_URL"),
    "rabbitmq": (RabbitMQ, "BROKER_URL"),
}
#: Tells the command the folder in which each service has a folder of its name.
FOLDER_VARIABLE = "TEST_SERVICES"

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def main() -> int:
    services, command = _arguments()
    _on_signals(_leave)
    try:
        debian.ensure(*(package for name in services for package in SERVICES[name][0].packages))
        return run(services, command)
    except (ServerError, debian.PackageError) as error:
        sys.stderr.write(f"tests.services: {error}\n")
        return 1


def run(services: list[str], command: list[str]) -> int:
    """Runs the command with these services and returns its exit code, or raises ServerError if one fails."""
    _adopt_orphans()
    with ExitStack() as stack:
        folder = stack.enter_context(server_folder())
        environment = os.environ | {FOLDER_VARIABLE: str(folder)}
        servers = []
        for name in services:
            kind, variable = SERVICES[name]
            server = stack.enter_context(kind(folder / name))
            servers.append(server)
            environment[variable] = server.url
        stack.callback(_end_leftovers, servers)
        try:
            process = subprocess.Popen(command, env=environment)
        except OSError as error:
            raise ServerError(f"{command[0]} can't be run: {error.strerror}.") from error
        _on_signals(lambda number, _: _pass_on(number, process.pid))
        code = _wait(process.pid)
        _on_signals(signal.SIG_IGN)  # from here on only a kill leaves servers behind
    return code if code >= 0 else 128 - code


def _arguments() -> tuple[list[str], list[str]]:
    """The services to start and the command to run."""
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m tests.services",
        usage="%(prog)s run [postgres] [rabbitmq] -- COMMAND ...",
        description="Run a command with real servers; DATABASE_URL and BROKER_URL tell it where they are.",
    )
    parser.add_argument("action", choices=["run"])
    parser.add_argument("services", nargs="*", help=f"any of {', '.join(SERVICES)}")
    services: list[str] = parser.parse_args(arguments[:split]).services
    if unknown := set(services) - set(SERVICES):
        parser.error(f"no service {', '.join(sorted(unknown))}: choose from {', '.join(SERVICES)}")
    if not arguments[split + 1 :]:
        parser.error("a command is missing: write it after --")
    return services, arguments[split + 1 :]


def _on_signals(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)


def _leave(number: int, _: FrameType | None) -> None:
    """Before the command runs: leave, stopping what was started."""
    _on_signals(signal.SIG_IGN)
    raise SystemExit(128 + number)


def _pass_on(number: int, pid: int) -> None:
    if number == signal.SIGINT and os.isatty(0):
        return  # the terminal's Ctrl-C reached the command as well; twice would cut its cleaning up short
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _adopt_orphans() -> None:
    """Makes processes whose parent ends, below this one, its children: none gets out of sight."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def _wait(pid: int) -> int:
    """The exit code of the command, -n for signal n. Meanwhile it reaps orphans, as init would."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            return os.waitstatus_to_exitcode(status)


def _end_leftovers(servers: list[Server]) -> None:
    """Ends what still runs below this process and belongs to none of the servers."""
    below = psutil.Process().children(recursive=True)
    ours = {pid for server in servers for pid in server.pids}
    left = await_end([process for process in below if process.pid not in ours], timeout=1)
    if left:
        names = ", ".join(f"{process.name()} ({process.pid})" for process in left)
        sys.stderr.write(f"tests.services: the command left processes, which are ended now: {names}\n")
        kill(left)


if __name__ == "__main__":
    sys.exit(main())
