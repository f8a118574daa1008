"""The `datarun` command beside a platform: JSON, sentences, exit codes. What it does with one: tests/acceptance."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from datarun.command import main
from tests.scripted import Answer, Scripted, datarun, page, problem, scripted

FOLDS = [
    {
        "id": 10 + number,
        "number": number,
        "submission": 7,
        "state": state,
        "stage": stage,
        "failure": failure,
        "message": "Traceback\nValueError: no" if failure else "",
        "scores": {"valid": {"accuracy": 0.9375}} if state == "done" else {},
        "times": {"train_time": 1.5} if state == "done" else {},
        "runner": None,
        "waiting": "2 jobs are before it in L" if state == "waiting" else None,
    }
    for number, (state, stage, failure) in enumerate(
        [
            ("done", "validated", None),
            ("running", "trained", None),
            ("waiting", "", None),
            ("failed", "", "user_error"),
        ]
    )
]


def submission(state: str, **more: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "name": "forest",
        "dataset": "iris",
        "user": "me",
        "state": state,
        "folds": {"done": 1, "failed": 1, "running": 1, "waiting": 1, "total": 4},
        "scores": {"valid": {"accuracy": {"mean": 0.9375, "std": 0.0, "bagged": None}}},
        "waiting": None,
        "failure": None,
        "created_at": "2026-01-02T03:04:05Z",
        **more,
    }


def rows(*found: Any) -> Answer:
    return datarun({"results": list(found), "next": None, "previous": None})


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    with scripted() as server:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        monkeypatch.setenv("DATARUN_URL", server.url)
        monkeypatch.setenv("DATARUN_TOKEN", "token")
        yield server


def run(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(main, arguments, **options)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (problem(400, "invalid", "No."), 3),
        (problem(401, "unauthenticated", "No."), 4),
        (problem(403, "forbidden", "No."), 4),
        (problem(404, "not-found", "No."), 5),
        (problem(429, "limit", "No.", {"Retry-After": "90"}), 7),
        (problem(500, "error", "No."), 6),
        (page("<title>Welcome</title>"), 6),
    ],
)
def test_exit_codes_say_what_went_wrong(server: Scripted, answer: Answer, code: int) -> None:
    server.answers.extend([answer, answer])
    people = run("data", "show", "iris")
    assert people.exit_code == code
    assert people.stdout == ""
    assert people.stderr.startswith("datarun: ")
    assert people.stderr.count("\n") == 1

    script = run("data", "show", "iris", "--json")
    assert script.exit_code == code
    assert script.stdout == ""
    assert json.loads(script.stderr)["error"]["exit_code"] == code


def test_without_a_login_it_ends_with_4(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATARUN_TOKEN")
    done = run("whoami")
    assert (done.exit_code, server.asked) == (4, [])
    assert "datarun login" in done.stderr


def test_files_that_can_not_be_sent_end_with_2(server: Scripted, tmp_path: Path) -> None:
    server.script = lambda _: datarun({"id": 1, "name": "iris", "state": "ready"})
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run("submit", str(empty), "--dataset", "iris")
    assert done.exit_code == 2
    assert "has no files" in done.stderr


def test_status_shows_each_fold(server: Scripted) -> None:
    server.answers.extend([datarun(submission("running")), rows(*FOLDS)])
    done = run("status", "7")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert "forest to iris (submission 7): running, 1/4 folds, 1 failed" in lines[0]
    for line, words in zip(
        lines[2:6],
        (
            ("fold 0", "done", "0.9375"),
            ("validating",),
            ("waiting", "2 jobs are before"),
            ("ValueError: no",),
        ),
        strict=True,
    ):
        assert all(word in line for word in words), line


def test_json_has_what_the_api_has(server: Scripted) -> None:
    server.answers.extend([datarun(submission("running")), rows(*FOLDS)])
    shown = json.loads(run("status", "7", "--json").stdout)
    assert shown["scores"] == submission("running")["scores"]
    assert shown["folds"] == {**submission("running")["folds"], "results": FOLDS}


@pytest.mark.parametrize(("state", "code"), [("scored", 0), ("partial", 1), ("failed", 1), ("cancelled", 1)])
def test_watching_ends_with_how_it_ended(server: Scripted, state: str, code: int) -> None:
    server.answers.append(datarun(submission("running")))
    for each in ("running", state):
        server.answers.extend([datarun(submission(each)), rows(*FOLDS)])
    done = run("status", "7", "--watch")
    assert done.exit_code == code
    assert done.stderr.count("fold 3: failed (user_error: ValueError: no)") == 1


def test_watching_for_too_long_ends_with_8(server: Scripted) -> None:
    server.script = lambda asked: rows(*FOLDS) if "folds" in asked.path else datarun(submission("running"))
    done = run("status", "7", "--watch", "--timeout", "0.1")
    assert done.exit_code == 8
    assert "has not ended within 0.1 s" in done.stderr


def test_many_folds_are_a_bar_and_the_failures(server: Scripted) -> None:
    many = [FOLDS[0] | {"id": number, "number": number} for number in range(99)] + [FOLDS[3] | {"number": 99}]
    server.answers.extend([datarun(submission("running")), rows(*many)])
    shown = run("status", "7").stdout
    assert shown.count("■") + shown.count("#") == 100
    assert "fold 99" in shown
    assert "fold 98" not in shown


def test_markup_of_strangers_is_text(server: Scripted) -> None:
    server.answers.append(rows(submission("running", name="[red]x[/nope]")))
    assert "[red]x[/nope]" in run("status").stdout


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("KFold", {}),
        ("KFold:n_splits=3,shuffle=true", {"n_splits": 3, "shuffle": True}),
        ("ShuffleSplit:test_size=0.2, random_state=None", {"test_size": 0.2, "random_state": None}),
    ],
)
def test_a_cross_validation_is_written_in_a_word(
    server: Scripted, tmp_path: Path, text: str, parameters: dict[str, Any]
) -> None:
    (tmp_path / "iris.csv").write_text("a,b\n1,2\n")
    server.answers.append(datarun({"id": "u", "offset": 8, "size": 8}, 201))
    server.answers.append(problem(400, "invalid", "Seen."))
    assert run("data", "push", str(tmp_path / "iris.csv"), "--target", "b", "--cv", text).exit_code == 3
    assert server.asked[-1].json["cv"] == {
        "splitter": text.partition(":")[0],
        "parameters": parameters,
        "groups": None,
    }
    assert server.asked[-1].json["upload"] == "u"


@pytest.mark.parametrize("text", ["KFold:5", "KFold:n_splits=many"])
def test_a_cross_validation_that_is_none_ends_with_2(server: Scripted, tmp_path: Path, text: str) -> None:
    (tmp_path / "iris.csv").write_text("a,b\n1,2\n")
    done = run("data", "push", str(tmp_path / "iris.csv"), "--target", "b", "--cv", text)
    assert (done.exit_code, server.asked) == (2, [])


def test_a_password_makes_a_token_that_is_kept(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATARUN_URL", "DATARUN_TOKEN"):
        monkeypatch.delenv(name)
    me = datarun({"username": "me", "email": "", "roles": ["participant"]})
    service = datarun({"name": "datarun", "version": "0.1.0", "api": 1})
    server.answers.extend([service, datarun({"id": 3, "token": "made"}, 201), service, me, service, me])
    done = run("login", server.url, "--user", "me", "--password-stdin", input="secret\n")
    assert done.exit_code == 0, done.output
    assert "as me" in done.stderr
    assert "secret" not in done.output
    assert json.loads(run("whoami", "--json").stdout)["username"] == "me"
    assert server.asked[-1].headers["Authorization"] == "Token made"

    server.answers.append(datarun(None, 204))
    assert run("logout").exit_code == 0
    assert (server.asked[-1].method, server.asked[-1].path) == ("DELETE", "/api/v1/tokens/3/")
    assert run("whoami").exit_code == 4


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_it(shell: str) -> None:
    done = run("completion", shell)
    assert done.exit_code == 0
    assert "_DATARUN_COMPLETE" in done.stdout


def test_bash_completes_commands() -> None:
    command = Path(sys.executable).parent / "datarun"
    environment = {"_DATARUN_COMPLETE": "bash_complete", "COMP_WORDS": "datarun lead", "COMP_CWORD": "1"}
    done = subprocess.run([command], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["plain,leaderboard"]


def test_help_tells_the_exit_codes() -> None:
    text = run("--help").stdout
    assert "Exit codes" in text
    for code in (0, 1, 2, 3, 4, 5, 6, 7, 8, 130):
        assert f"\n    {code:<3} " in text
