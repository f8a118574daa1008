"""Reads `list_runners.txt`: a runner a line.

address number_of_workers queues [hard_time_limit soft_time_limit]
onevm-1.example.org 2 L,celery 360 300
"""

import re
from dataclasses import dataclass
from pathlib import Path

from datarun.contract import queues

from .errors import ProvisionError

_ADDRESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:_-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class RunnerSpec:
    """One runner, as its line says. Time limits in seconds; None: the platform's."""

    address: str
    slots: int
    queues: tuple[str, ...]
    hard_limit: int | None = None
    soft_limit: int | None = None

    @property
    def name(self) -> str:
        """What master and broker know it by."""
        return name_of(self.address)


def name_of(address: str) -> str:
    """The name of the runner at this address: the one that Celery gives to ``-n ADDRESS``."""
    return f"celery@{address}"


def address_of(name: str) -> str | None:
    """The address in a runner's name; None if it is no name of a runner that was provisioned."""
    return name.removeprefix("celery@") if name.startswith("celery@") else None


def read(path: Path) -> list[RunnerSpec]:
    """The runners in the file; raises `ProvisionError`, which names file and line."""
    try:
        return parse(path.read_text(), str(path))
    except FileNotFoundError:
        raise ProvisionError(
            f"{path} is missing: write a line for each runner, or name the file with --file."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ProvisionError(f"{path} can't be read: {error}.") from error


def parse(text: str, name: str) -> list[RunnerSpec]:
    """The runners in `text`, one a line; blank lines and what follows a # are ignored."""
    found: dict[str, tuple[int, RunnerSpec]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            runner = _runner(words)
            if runner.address.lower() in found:
                earlier = found[runner.address.lower()][0]
                raise ValueError(
                    f"{runner.address} stands in line {earlier} already: each runner needs its own line"
                )
        except ValueError as error:
            raise ProvisionError(f"{name}, line {number}: {error}.") from error
        found[runner.address.lower()] = (number, runner)
    return [runner for _, runner in found.values()]


def _runner(words: list[str]) -> RunnerSpec:
    if len(words) not in (3, 5):
        raise ValueError(
            f"{len(words)} words: write address, number of workers and queues, then both time limits or neither"
        )
    address, slots, served = words[:3]
    if not _ADDRESS.fullmatch(address):
        raise ValueError(f"{address!r} is no address: write a host name or an IP address")
    names = tuple(dict.fromkeys(served.split(",")))
    for name in names:
        if name not in queues.ORDER_QUEUES:
            raise ValueError(
                f"{name!r} is no queue: choose from {','.join(queues.ORDER_QUEUES)}, without blanks"
            )
    limits = [_number(word, what) for word, what in zip(words[3:], ("hard", "soft"), strict=False)]
    if limits and limits[1] >= limits[0]:
        raise ValueError(f"the soft time limit {limits[1]} is not below the hard one, {limits[0]}")
    return RunnerSpec(address, _number(slots, "workers"), names, *limits)


_WHAT = {"workers": "a number of workers", "hard": "a hard time limit", "soft": "a soft time limit"}


def _number(word: str, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", word) or int(word) == 0:
        raise ValueError(f"{word!r} is not {_WHAT[what]}: write a whole number above 0")
    return int(word)
