"""Log lines: for people, and for machines with what they are about."""

import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from datarun import logs


def record(message: str = "done", **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("runapp", logging.INFO, __file__, 1, message, (), None)
    vars(made).update(extra)
    return made


def parsed(**extra: Any) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(logs.formatter("json").format(record(**extra)))
    return line


def test_a_line_for_people() -> None:
    line = logs.formatter("text").format(record())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO runapp: done", line)


def test_a_line_for_machines() -> None:
    line = parsed()
    assert line.pop("time").startswith("20")
    assert line == {"level": "INFO", "name": "runapp", "message": "done"}


def test_times_are_of_the_same_clock_in_both() -> None:
    made = record()
    made.created = 0.0
    made.msecs = 0.0
    assert logs.formatter("text").format(made).startswith("1970-01-01 00:00:00")
    assert json.loads(logs.formatter("json").format(made))["time"].startswith("1970-01-01 00:00:00")


def test_all_that_is_logged_meanwhile_says_what_it_is_about() -> None:
    with logs.about(job="a", attempt=1):
        with logs.about(runner="r1", attempt=2):
            line = parsed()
            assert (line["job"], line["attempt"], line["runner"]) == ("a", 2, "r1")
        line = parsed()
        assert (line["job"], line["attempt"], line.get("runner")) == ("a", 1, None)
    assert "job" not in parsed()


def test_it_ends_with_an_error_too() -> None:
    try:
        with logs.about(job="a"):
            raise ValueError
    except ValueError:
        assert "job" not in parsed()


def test_what_a_line_says_itself_counts_and_what_is_unknown_is_left_out() -> None:
    with logs.about(job="a", runner="", fold=None, attempt=0):
        line = parsed(job="b")
    assert (line["job"], line["attempt"]) == ("b", 0)
    assert not {"runner", "fold"} & set(line)


def test_a_line_is_about_what_its_own_thread_does() -> None:
    with logs.about(job="a"), ThreadPoolExecutor(1) as pool:
        assert "job" not in pool.submit(parsed).result()
