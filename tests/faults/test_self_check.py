"""The suite's own test: with one guard of the platform taken out, the fault that it is for is not survived.

Only with `--self-check`. What is patched, in the schedulers' processes, is in `sabotage.py`; with nothing patched the
same faults are survived, which is what the suite itself shows.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from . import test_faults
from .conftest import Say
from .ledger import wait_for
from .stack import Stack
from .trial import Trial, TrialFailed


def _die_after_acknowledging(trial: Trial) -> None:
    with trial.strike("schedulers die between ack and commit") as fault:
        test_faults.die_at_acknowledgements(fault, "acknowledge_before_commit", deaths=1)


def _never_renew(trial: Trial) -> None:
    # A scheduler that starts gives runners a whole lease to be heard in: the folds are longer than that.
    with trial.strike("leases are never renewed", long=4, nap=12) as fault:
        fault.orders_may_vanish = True
        test_faults.replace_schedulers(fault, "without_renewal")
        wait_for(lambda: not fault.stack.ledger.left(fault.long), "the end of the long folds", 180)


@pytest.mark.parametrize(
    ("guard", "sabotage", "strike", "complaint"),
    [
        (
            "idempotent collection",
            "without_idempotence",
            test_faults.test_every_message_comes_twice,
            # The table of predictions refuses a second one; without them there is nothing to refuse.
            "(counted twice|parked): ",
        ),
        (
            "fencing by attempt and runner",
            "without_fencing",
            test_faults.test_a_runner_stops_beyond_its_lease_and_goes_on,
            "wrong: ",
        ),
        ("acknowledge after commit", "", _die_after_acknowledging, "tried again without need: "),
        ("lease renewal", "", _never_renew, "tried again without need: .* has not been heard of"),
    ],
    ids=["idempotence", "fencing", "acknowledgement", "renewal"],
)
def test_the_suite_notices_that_a_guard_is_missing(
    guard: str, sabotage: str, strike: Callable[[Trial], None], complaint: str, trial: Trial, say: Say
) -> None:
    with _all_schedulers(trial.stack, sabotage), pytest.raises(TrialFailed, match=complaint) as failure:
        strike(trial)
    problems = [line for line in str(failure.value).splitlines() if re.match(complaint, line)]
    say(f"    without {guard} the suite fails, as it must: {problems[0][:120]}")


@contextmanager
def _all_schedulers(stack: Stack, sabotage: str) -> Iterator[None]:
    """Meanwhile whichever scheduler starts is one that this was done to."""
    _start_again(stack, sabotage)
    try:
        yield
    finally:
        _start_again(stack, "")


def _start_again(stack: Stack, sabotage: str) -> None:
    stack.sabotage = sabotage
    for name in stack.schedulers:
        stack.kill(name)
        stack.revive(name)
