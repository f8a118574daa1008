"""The suite's own test: with one guard of the platform taken out, the fault that it is for is not survived.

Only with `--self-check`. What is patched, in the schedulers' processes, is in `sabotage.py`.
"""

from collections.abc import Callable

import pytest

from . import test_faults, test_long_folds
from .conftest import Say, Stacks
from .trial import Trial, TrialFailed


def _die_after_acknowledging(trial: Trial) -> None:
    with trial.strike("schedulers die between ack and commit") as fault:
        test_faults.die_at_acknowledgements(fault, "acknowledge_before_commit")


@pytest.mark.parametrize(
    ("guard", "sabotage", "strike", "complaint"),
    [
        (
            "fencing by attempt and runner",
            "without_fencing",
            test_faults.test_a_runner_stops_beyond_its_lease_and_goes_on,
            "wrong: ",
        ),
        ("acknowledge after commit", "", _die_after_acknowledging, "tried again without need: "),
        ("lease renewal", "without_renewal", test_long_folds.run_long_folds, "tried again without need: "),
        (
            "idempotent collection",
            "without_idempotence",
            test_faults.test_every_message_comes_twice,
            "counted twice: ",
        ),
    ],
    ids=["fencing", "acknowledgement", "renewal", "idempotence"],
)
def test_the_suite_notices_that_a_guard_is_missing(
    guard: str,
    sabotage: str,
    strike: Callable[[Trial], None],
    complaint: str,
    stacks: Stacks,
    say: Say,
    request: pytest.FixtureRequest,
) -> None:
    options = request.config.option
    trial = Trial(stacks.new(sabotage), options.seed, options.folds, say)
    try:
        with pytest.raises(TrialFailed, match=complaint) as failure:
            strike(trial)
    finally:
        stacks.discard()
    problems = [line for line in str(failure.value).splitlines() if line.startswith(complaint)]
    say(f"    without {guard} the suite fails, as it must: {problems[0][:120]}")
