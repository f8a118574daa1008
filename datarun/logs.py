"""Log lines: text for people, or JSON objects for machines (`DR_LOG_FORMAT=json`).

What a line is about (job, attempt, fold, submission, runner) is said once, for all that is logged meanwhile:
`with logs.about(job=…)`. Text has it in its sentences where it matters, JSON in every line.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pythonjsonlogger.json import JsonFormatter

FORMATS = ("text", "json")

_TEXT = "{asctime} {levelname} {name}: {message}"
_FIELDS = ("asctime", "levelname", "name", "message")

_about: ContextVar[dict[str, Any]] = ContextVar("about", default={})  # noqa: B039 - replaced, never changed


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """What this thread logs now is about these; empty ones are left out."""
    given = {name: value for name, value in fields.items() if value not in (None, "")}
    token = _about.set(_about.get() | given)
    try:
        yield
    finally:
        _about.reset(token)


class _JsonFormatter(JsonFormatter):
    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return log_data | {name: value for name, value in _about.get().items() if name not in log_data}


def formatter(format: str) -> logging.Formatter:
    """The formatter for `format`, one of `FORMATS`."""
    made: logging.Formatter = logging.Formatter(_TEXT, style="{")
    if format == "json":
        made = _JsonFormatter(list(_FIELDS), rename_fields={"asctime": "time", "levelname": "level"})
    made.converter = time.gmtime  # the same clock on every machine
    return made
