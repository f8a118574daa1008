"""``bin/up``: runs the whole platform in the foreground until Ctrl-C."""

import argparse
import signal
import sys
import time
from types import FrameType

from . import demo, platform
from .demo import DemoError
from .folder import FolderError
from .postgres import PostgresError


def main() -> int:
    """Returns the exit code: 0, 1 when a process or a fold failed, 2 when it could not start."""
    options = _parse()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    address = platform.Address(options.host, options.port)
    try:
        with platform.running(address) as processes:
            platform.say(
                f"datarun runs at {address.url}   (documentation: {address.url}docs/; Ctrl-C stops it)"
            )
            if options.demo:
                passed = demo.run(address.url)
                if options.exit:
                    return 0 if passed else 1
            while (problem := processes.ended()) is None:
                time.sleep(0.2)
            platform.say(problem)
            return 1
    except KeyboardInterrupt:
        platform.say("datarun has stopped.")
        return 0
    except (platform.PlatformError, FolderError, PostgresError, DemoError) as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/up", description="Run the whole platform on this machine.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="port to listen on (default: %(default)s)")
    parser.add_argument("--demo", action="store_true", help="post three data sets and submissions to each")
    parser.add_argument("--exit", action="store_true", help="with --demo: stop when the folds are done")
    options = parser.parse_args()
    if options.exit and not options.demo:
        parser.error("--exit goes with --demo")
    return options


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: use a number from 1 to 65535")
    return int(text)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Once is enough: a second one must not interrupt the stopping.
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
