"""Why a job failed: whose failure it is decides what happens next."""

from enum import StrEnum


class FailureKind(StrEnum):
    # The submitter's: final.
    USER_ERROR = "user_error"
    BAD_OUTPUT = "bad_output"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    DISK = "disk"
    KILLED = "killed"
    # The organiser's: final.
    DATA = "data"
    # Ours: retried, never charged to anyone.
    ENVIRONMENT = "environment"
    LOST = "lost"


RETRIED = frozenset({FailureKind.ENVIRONMENT, FailureKind.LOST})
