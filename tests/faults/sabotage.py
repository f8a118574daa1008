"""Starts a program of the platform with something in it broken on purpose.

``python -m tests.faults.sabotage NAME manage.py scheduler`` (or ``-m celery …``): NAME is a function below. None of
it is reachable from the platform itself.
"""

import datetime
import os
import random
import re
import runpy
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Names the file that says by how many seconds clocks are wrong; who has read it leaves another beside it.
CLOCK_VARIABLE = "FAULTS_CLOCK"
#: The contract version of a program that has another one than the rest.
VERSION_VARIABLE = "FAULTS_VERSION"
#: What chance depends on.
SEED_VARIABLE = "FAULTS_SEED"


def main() -> None:
    name, *sys.argv = sys.argv[1:]
    SABOTAGES[name]()
    if sys.argv[0] == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, os.getcwd())
        runpy.run_path(sys.argv[0], run_name="__main__")


# --- faults from inside ----------------------------------------------------------------------------------


def die_at_acknowledgement() -> None:
    """kill -9 right before or right after one of the first acknowledgements of what moves a job."""
    from kombu.message import Message

    from datarun.contract import queues

    rng = random.Random(os.environ[SEED_VARIABLE])
    left, before = rng.randrange(1, 10), rng.choice([True, False])
    acknowledge = Message.ack

    def ack(self: Any, *args: Any, **options: Any) -> None:
        nonlocal left
        left -= self.delivery_info.get("routing_key") == queues.RESULTS
        if left <= 0 and before:
            os.kill(os.getpid(), signal.SIGKILL)
        acknowledge(self, *args, **options)
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    Message.ack = ack


def wrong_clock() -> None:
    """The wall clock is wrong by as many seconds as the file says, from the moment that there is one.

    Debian's libfaketime (0.9.10) breaks every wait of Python 3.11, so it happens within Python.
    """
    file, real_time, real_datetime = Path(os.environ[CLOCK_VARIABLE]), time.time, datetime.datetime
    seen: set[str] = set()

    def wrong() -> float:
        if not file.exists():
            return 0.0
        if (seconds := file.read_text()) not in seen:
            seen.add(seconds)
            file.with_name(f"{file.name} {seconds} {os.getpid()}").touch()
        return float(seconds)

    class Meta(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, real_datetime)

    class WrongDatetime(real_datetime, metaclass=Meta):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real_datetime.now(tz) + datetime.timedelta(seconds=wrong())

        @classmethod
        def utcnow(cls) -> Any:
            return real_datetime.utcnow() + datetime.timedelta(seconds=wrong())

    time.time = lambda: real_time() + wrong()
    time.time_ns = lambda: int(time.time() * 1e9)
    datetime.datetime = WrongDatetime  # type: ignore[misc]


def another_version() -> None:
    """It speaks a contract version that nobody else does."""
    from datarun.contract import messages

    messages.CONTRACT_VERSION = int(os.environ[VERSION_VARIABLE])


# --- guards taken out --------------------------------------------------------------------------------------


def without_fencing() -> None:
    """Outcomes count for whatever attempt, from whatever runner."""
    _django()
    from runapp.services import ingest

    statement = _replaced(ingest._FINISH, r"AND job.attempt = (\w+).attempt AND job.runner = \1.runner", "")
    returning = r"AS (\w+) (\(job .*) RETURNING job.id::text, job.attempt, job.runner"
    returned = r"AS \1 \2 RETURNING \1.job::text, \1.attempt, \1.runner"
    ingest._FINISH = _replaced(statement, returning, returned)


def without_idempotence() -> None:
    """An outcome counts again whenever it comes again."""
    _django()
    from runapp.services import ingest

    ingest._FINISH = _replaced(ingest._FINISH, "AND job.state = 'running'", "")


def without_renewal() -> None:
    """Heartbeats push no lease on."""
    _django()
    from runapp import states

    states.renew = lambda ids, runner: None


def acknowledge_before_commit() -> None:
    """Messages are acknowledged, then recorded; it dies between the two, with an outcome."""
    _django()
    from datarun.broker import connection as broker
    from runapp.scheduler.collect import Collector

    record = Collector._record

    def ack_and_record(self: Any, batch: list[Any]) -> None:
        for message in batch:
            if not message.acknowledged:
                message.ack()
            message.ack = lambda **_: None
        if any(b'"Outcome"' in broker.body_of(message) for message in batch):
            os.kill(os.getpid(), signal.SIGKILL)
        record(self, batch)

    Collector._record = ack_and_record  # type: ignore[method-assign]


def _django() -> None:
    sys.path.insert(0, os.getcwd())
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "datarun.settings")
    import django

    django.setup()


def _replaced(text: str, guard: str, replacement: str) -> str:
    """`text` without a guard; one that is not found any more can't be taken out."""
    found = " ".join(text.split())
    replaced, number = re.subn(guard, replacement, found)
    if number != 1:
        raise SystemExit(
            f"sabotage: there is no {guard} in {found}: the guard has changed, adapt the self-check."
        )
    return replaced


SABOTAGES: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (
        *(die_at_acknowledgement, wrong_clock, another_version),
        *(without_fencing, without_idempotence, without_renewal, acknowledge_before_commit),
    )
}

if __name__ == "__main__":
    main()
