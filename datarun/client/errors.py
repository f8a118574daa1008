"""What can go wrong between a client and a platform. Each message names the thing and the fix."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple


class DatarunError(Exception):
    """Anything that the client raises on purpose."""


class ConfigError(DatarunError):
    """What is needed to speak to a platform is missing, or can't be read."""


class InputError(DatarunError):
    """A file or folder that was to be sent can't be."""


class Unreachable(DatarunError):
    """Nothing answers: no network, a wrong address, or the platform is down."""


class NotDatarun(DatarunError):
    """Something else than datarun answers: a proxy, a login page, another web site."""


class OtherVersion(DatarunError):
    """The platform speaks another version of the API than this client."""


class PlatformFailed(DatarunError):
    """The platform answered with an error of its own (5xx)."""


class WaitedTooLong(DatarunError):
    """What was waited for is not over within the time given."""


class FieldError(NamedTuple):
    field: str
    message: str


class Refused(DatarunError):
    """The platform refused a request (4xx). `problem` is its answer (RFC 9457), `errors` are those of fields."""

    def __init__(self, message: str, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.status, self.problem = status, problem

    @property
    def kind(self) -> str:
        """The last part of the problem's type, such as ``invalid`` or ``duplicate``."""
        return str(self.problem.get("type", "")).rpartition("/")[2]

    @property
    def errors(self) -> Sequence[FieldError]:
        return [FieldError(each["field"], each["message"]) for each in self.problem.get("errors", [])]


class NotLoggedIn(Refused):
    """The token is missing, wrong, revoked or expired."""


class Forbidden(Refused):
    """Your role does not allow it."""


class NotFound(Refused):
    """There is none, or none that you may see."""


class Duplicate(Refused):
    """The same code was submitted to this data set before; `submission` is its id."""

    @property
    def submission(self) -> int:
        return int(self.problem["submission"])


class TryLater(Refused):
    """Too often, or more than allowed; `at` is when it is possible again, if the platform said so."""

    def __init__(
        self, message: str, status: int, problem: Mapping[str, Any], at: datetime | None = None
    ) -> None:
        super().__init__(message, status, problem)
        self.at = at
