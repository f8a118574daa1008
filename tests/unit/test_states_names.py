"""The names that master, runners and clients share: changing one breaks who already uses it."""

import itertools

import pytest

from datarun.contract import queues
from datarun.contract.failures import RETRIED, FailureKind
from datarun.contract.messages import MESSAGE_TYPES
from datarun.contract.states import TERMINAL_STATES, FoldState, JobKind, JobState, Stage, fold_state


@pytest.mark.parametrize(
    ("state", "stage", "seen"),
    [
        (JobState.CREATED, Stage.STARTED, FoldState.TODO),
        (JobState.QUEUED, Stage.STARTED, FoldState.TODO),
        (JobState.RUNNING, Stage.STARTED, FoldState.TODO),
        (JobState.RUNNING, Stage.TRAINED, FoldState.TRAINED),
        (JobState.RUNNING, Stage.VALIDATED, FoldState.VALIDATED),
        (JobState.SUCCEEDED, Stage.VALIDATED, FoldState.TESTED),
        (JobState.SUCCEEDED, Stage.STARTED, FoldState.TESTED),  # stages may be lost
        (JobState.FAILED, Stage.TRAINED, FoldState.ERROR),
        (JobState.CANCELLED, Stage.STARTED, FoldState.ERROR),
        (JobState.QUEUED, Stage.TRAINED, FoldState.TODO),  # a new attempt begins anew
    ],
)
def test_the_fold_state_that_clients_see(state: JobState, stage: Stage, seen: FoldState) -> None:
    assert fold_state(state, stage) == seen


def test_every_job_state_and_stage_has_a_fold_state() -> None:
    for state, stage in itertools.product(JobState, Stage):
        assert fold_state(state.value, stage.value) in FoldState


def test_the_names_are_what_clients_and_databases_hold() -> None:
    assert {*FoldState} == {"TODO", "TRAINED", "VALIDATED", "TESTED", "ERROR"}
    assert {*JobState} == {"created", "queued", "running", "succeeded", "failed", "cancelled"}
    assert {*JobKind} == {"fold", "prepare", "ensemble"}
    assert {*Stage} == {"", "trained", "validated"}
    assert {*TERMINAL_STATES} == {"succeeded", "failed", "cancelled"}


def test_only_our_own_failures_are_retried() -> None:
    assert {*RETRIED} == {"environment", "lost"}
    assert {*FailureKind} - RETRIED == {
        *("user_error", "bad_output", "timeout", "memory", "disk", "killed"),
        "data",
    }


def test_the_queues_have_the_names_that_runners_subscribe_to() -> None:
    assert queues.ORDER_QUEUES == ("L", "H", "celery")
    assert queues.PRIORITIES == ("L", "H")
    assert (queues.RESULTS, queues.EVENTS, queues.PARKED) == ("results", "events", "parked")


def test_a_message_type_is_found_by_its_name() -> None:
    assert all(cls.__name__ == name for name, cls in MESSAGE_TYPES.items())
    assert set(MESSAGE_TYPES) >= {
        *("PrepareOrder", "FoldOrder", "Claim", "Outcome"),
        *("StageReached", "Heartbeat"),
    }
