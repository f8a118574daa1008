"""The Python client of a datarun platform, and the `datarun` command.

`datarun.Client` speaks to ``/api/v1/``. It needs httpx, rich, click and platformdirs, and imports each when it is
used; pandas and numpy are used where they are installed. Of the project it may import the contract only.
"""

from .client import Client
from .errors import (
    ConfigError,
    DatarunError,
    Duplicate,
    Forbidden,
    InputError,
    NotDatarun,
    NotFound,
    NotLoggedIn,
    OtherVersion,
    PlatformFailed,
    Refused,
    TryLater,
    Unreachable,
    WaitedTooLong,
)
from .resources import Dataset, Fold, Submission

__all__ = [
    "Client",
    "ConfigError",
    "DatarunError",
    "Dataset",
    "Duplicate",
    "Fold",
    "Forbidden",
    "InputError",
    "NotDatarun",
    "NotFound",
    "NotLoggedIn",
    "OtherVersion",
    "PlatformFailed",
    "Refused",
    "Submission",
    "TryLater",
    "Unreachable",
    "WaitedTooLong",
]
