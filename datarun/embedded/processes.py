"""Runs the processes of the Procfile: streams what they print under their names, ends all when one ends.

Like honcho or foreman, with two differences that an embedded platform needs: its processes end with it even
when it is killed, and they are given the time that a runner's grace takes.
"""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_GRACE = 10.0  # seconds between asking a process to end and killing it
_COLOURS = ("36", "33", "35", "32")


def read_procfile(path: Path) -> dict[str, str]:
    """Name → command line."""
    lines = (re.fullmatch(r"([\w-]+):\s*(.+)", line.strip()) for line in path.read_text().splitlines())
    return {match[1]: match[2] for match in lines if match}


class Processes:
    """The running processes, by name."""

    def __init__(self, commands: Mapping[str, str], environment: Mapping[str, str], folder: Path) -> None:
        self._commands, self._environment, self._folder = commands, environment, folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._readers: list[threading.Thread] = []
        self._width = max(map(len, commands))

    def start(self) -> None:
        # All of them before the first thread: forking beside threads is unsafe.
        for name, command in self._commands.items():
            self._running[name] = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],  # the Procfile's own lines, which use its variables
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(self._environment),
                cwd=self._folder,
                start_new_session=True,  # the terminal's Ctrl-C is this process's alone to pass on
                preexec_fn=_end_with_parent,
            )
        for number, (name, process) in enumerate(self._running.items()):
            prefix = self._prefix(name, _COLOURS[number % len(_COLOURS)])
            reader = threading.Thread(target=_copy, args=(process.stdout, prefix), daemon=True)
            reader.start()
            self._readers.append(reader)

    def ended(self) -> str | None:
        """A sentence about the first process that has ended by itself, or None."""
        for name, process in self._running.items():
            if (code := process.poll()) is not None:
                return f"The {name} process ended with exit code {code}: its last lines say why."
        return None

    def stop(self) -> None:
        """Asks all to end, waits for it, and kills what is left."""
        for process in self._running.values():
            _signal_group(process, signal.SIGTERM)
        until = time.monotonic() + _GRACE
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
        for process in self._running.values():
            _signal_group(process, signal.SIGKILL)
            process.wait()
        for reader in self._readers:
            reader.join(timeout=1)

    def _prefix(self, name: str, colour: str) -> str:
        text = f"{name.ljust(self._width)} | "
        return f"\033[{colour}m{text}\033[0m" if sys.stdout.isatty() else text


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _copy(stream: IO[bytes], prefix: str) -> None:
    for line in stream:
        sys.stdout.write(prefix + line.decode(errors="replace").rstrip("\n") + "\n")
        sys.stdout.flush()
