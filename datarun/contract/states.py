"""The states of a job, the stages of a fold, and the fold states that clients see.

    created ──dispatch──► queued ──claim──► running ──► succeeded
       ▲                    │                  ├──────► failed (with a failure kind)
       └── attempt + 1 ◄────┴───── lost ◄──────┤
    any non-terminal ── cancel requested ──────┴──────► cancelled

Only names live here; the transitions are the master's (``runapp.states``).
"""

from enum import StrEnum


class JobKind(StrEnum):
    FOLD = "fold"
    PREPARE = "prepare"
    ENSEMBLE = "ensemble"


class JobState(StrEnum):
    CREATED = "created"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class Stage(StrEnum):
    """How far a running fold has come."""

    STARTED = ""
    TRAINED = "trained"
    VALIDATED = "validated"


class FoldState(StrEnum):
    """The states of a submission fold in datarun's public API."""

    TODO = "TODO"
    TRAINED = "TRAINED"
    VALIDATED = "VALIDATED"
    TESTED = "TESTED"
    ERROR = "ERROR"


def fold_state(state: str, stage: str) -> FoldState:
    """The public state of a fold whose job is in `state` and has reached `stage`."""
    if state == JobState.SUCCEEDED:
        return FoldState.TESTED
    if state in TERMINAL_STATES:
        return FoldState.ERROR
    if state == JobState.RUNNING and stage:
        return FoldState[Stage(stage).name]
    return FoldState.TODO
