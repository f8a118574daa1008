"""`list_runners.txt`: a runner a line; errors name file and line."""

from pathlib import Path

import pytest

from script_install.errors import ProvisionError
from script_install.inventory import RunnerSpec, parse, read

ONE = RunnerSpec("onevm-1.example.org", 2, ("L", "celery"), 360, 300)


def test_comments_blank_lines_and_a_last_line_without_newline_are_fine() -> None:
    text = "# ours\n\nonevm-1.example.org 2 L,celery 360 300\n  10.0.0.2\t4 H  # the big one"
    assert parse(text, "list") == [ONE, RunnerSpec("10.0.0.2", 4, ("H",))]
    assert parse(text + "\n", "list") == parse(text, "list")
    assert parse("", "list") == []


def test_master_and_broker_know_a_runner_by_the_name_that_celery_gives_it() -> None:
    assert ONE.name == "celery@onevm-1.example.org"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("one 2", "2 words"),
        ("one 2 L 360", "4 words"),
        ("one 2 L 360 300 7", "6 words"),
        ("one two L", "'two' is not a number of workers"),
        ("one 0 L", "'0' is not a number of workers"),
        ("one 2 L,X", "'X' is no queue: choose from L,H,celery"),
        ("one 2 L,", "'' is no queue"),
        ("one 2 L ten 5", "'ten' is not a hard time limit"),
        ("one 2 L 300 360", "soft time limit 360 is not below the hard one, 300"),
        ("-oProxyCommand=x 2 L", "is no address"),
        ("user@one 2 L", "'user@one' is no address"),
        ("ok 2 H", "ok stands in line 2 already"),
        ("OK 2 H", "OK stands in line 2 already"),
    ],
)
def test_a_bad_line_is_named_with_its_number(line: str, sentence: str) -> None:
    with pytest.raises(ProvisionError, match=f"list_runners.txt, line 3: .*{sentence}"):
        parse(f"# runners\nok 1 L\n{line}\n", "list_runners.txt")


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="write a line for each runner"):
        read(tmp_path / "list_runners.txt")
