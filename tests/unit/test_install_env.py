"""`env.sh`: read as a shell reads it, and refused with the variable's name."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from script_install.envfile import Settings, parse
from script_install.errors import ProvisionError

WHOLE = {
    "DR_DATABASE_NAME": "datarun",
    "DR_DATABASE_USER": "datarun",
    "DR_DATABASE_PASSWORD": "db secret",
    "USER_LOGIN": "MrTest",
    "USER_PSWD": "user secret",
    "DR_EMAIL": "test@example.org",
    "RMQ_VHOST": "datarun",
    "IP_MASTER": "master.example.org",
}


def quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def write(folder: Path, values: dict[str, str]) -> Path:
    path = folder / "env.sh"
    path.write_text("".join(f"export {name}={quoted(value)}\n" for name, value in values.items()))
    return path


@given(st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"])))
def test_single_quotes_keep_any_character(value: str) -> None:
    assert parse(f"export A={quoted(value)}\nB=1", "env.sh") == {"A": value, "B": "1"}


@pytest.mark.parametrize(
    "line",
    [
        "A=plain",
        "export A=1 B=2",
        "A='a b'\"c d\"e",
        r'A="say \"no\" to \$5 and \\ but \n"',
        r"A=a\ b\#c",
        "A=a#b # a comment",
        "A=  # empty",
        "A='two\nlines'",
        "A=1; B=2",
        "A=one\\\ntwo",
        "# only a comment\n\n  export   A='x'\n",
        "A='x'",
    ],
)
def test_assignments_mean_what_they_mean_to_a_shell(line: str) -> None:
    script = f'{line}\nprintf "%s\\0" "$A" "${{B-}}"'
    a, b, _ = subprocess.run(["sh", "-c", script], capture_output=True, check=True, text=True).stdout.split(
        "\0"
    )
    ours = parse(line, "env.sh")
    assert (ours["A"], ours.get("B", "")) == (a, b)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("A=1\nB='open\n", "env.sh, line 2: the quote around B is never closed"),
        ('B="open', "line 1: the quote around B is never closed"),
        ("PASSWORD=a$b", r"PASSWORD has an unquoted \$: put its value in single quotes"),
        ('PASSWORD="a$b"', r"PASSWORD has a \$ in double quotes: use single quotes"),
        ("PASSWORD=`id`", "PASSWORD has an unquoted `"),
        ("A = 1", "'A' is no assignment"),
        ("A-B=1", "'A-B' is no assignment"),
        ("\n\nrm -rf /", "line 3: 'rm' is no assignment"),
        ("A=1\nA=2", "line 2: A is set a second time"),
    ],
)
def test_what_is_no_assignment_is_refused_with_its_line(text: str, sentence: str) -> None:
    with pytest.raises(ProvisionError, match=sentence):
        parse(text, "env.sh")


def test_the_settings_have_defaults(tmp_path: Path) -> None:
    settings = Settings.read(write(tmp_path, WHOLE))
    assert (settings.master, settings.hosts) == ("master.example.org", ("master.example.org",))
    assert (settings.tls, settings.grace) == ("self-signed", 60)
    assert "secret" not in repr(settings)


@pytest.mark.parametrize("name", WHOLE)
def test_a_missing_variable_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProvisionError, match=f"env.sh: {name} is missing"):
        Settings.read(write(tmp_path, WHOLE | {name: ""}))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("DR_DATABSE_NAME", "x", "DR_DATABSE_NAME is no setting"),
        ("DR_DATABASE_NAME", "Data Run", "DR_DATABASE_NAME is 'Data Run'"),
        ("DR_DATABASE_PASSWORD", "a\nb", "DR_DATABASE_PASSWORD has a line break"),
        ("DIR_DATA", "data", "DIR_DATA is no absolute path"),
        ("DR_TLS", "none", "DR_TLS is 'none'"),
        ("DR_TLS", "own", "DR_TLS_CERTIFICATE is not set"),
        ("DR_GRACE", "soon", "DR_GRACE is 'soon'"),
    ],
)
def test_a_bad_value_is_named_and_no_secret_is(tmp_path: Path, name: str, value: str, sentence: str) -> None:
    with pytest.raises(ProvisionError, match=sentence) as error:
        Settings.read(write(tmp_path, WHOLE | {name: value}))
    assert "secret" not in str(error.value)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="copy env"):
        Settings.read(tmp_path / "env.sh")
