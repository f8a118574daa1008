"""Log lines: text for people, or JSON objects for machines (`DR_LOG_FORMAT=json`)."""

import logging
import time

from pythonjsonlogger.json import JsonFormatter

FORMATS = ("text", "json")

_TEXT = "{asctime} {levelname} {name}: {message}"
_FIELDS = ("asctime", "levelname", "name", "message")


def formatter(format: str) -> logging.Formatter:
    """The formatter for `format`, one of `FORMATS`. JSON has what a line is about: job, attempt, runner …"""
    if format == "json":
        return JsonFormatter(list(_FIELDS), rename_fields={"asctime": "time", "levelname": "level"})
    made = logging.Formatter(_TEXT, style="{")
    made.converter = time.gmtime  # the same clock on every machine
    return made
