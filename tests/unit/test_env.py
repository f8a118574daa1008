"""Settings: typed, and a missing or bad one ends the process with one line that names it and the fix."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datarun.broker.connection import connect
from datarun.contract.runners import DEVELOPMENT_TOKEN
from datarun.env import Environment, SettingsError
from datarun.runner.settings import RunnerSettings

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")

SPECIAL = "p@ss:w/rd?#[]%2F&=+ é\\\"'$"
PRODUCTION = {"DR_WORKING_ENV": "PROD", "RMQ_VHOST": "dr", "RMQ_USER": "dr", "RMQ_PASSWORD": "s"}


def env(**values: str) -> Environment:
    return Environment(values)


def refusal(read: Callable[[], Any]) -> str:
    """The one line with which the process would end."""
    with pytest.raises(SettingsError) as caught:
        read()
    line = str(caught.value)
    assert line.startswith("datarun: ")
    assert "\n" not in line
    return line


def test_text_is_stripped_and_has_a_default() -> None:
    assert env(NAME=" a b ").text("NAME") == "a b"
    assert env(NAME="  ").text("NAME", "default") == "default"
    assert env().text("NAME", "") == ""


def test_what_is_missing_is_named_with_the_hint() -> None:
    line = refusal(lambda: env().text("NAME", hint="Set it to X."))
    assert line == "datarun: NAME is not set. Set it to X."
    assert "NAME is not set" in refusal(lambda: env(NAME=" ").text("NAME"))


@pytest.mark.parametrize("text", ["1", "true", "True", "YES", "on"])
def test_true_has_many_names(text: str) -> None:
    assert env(NAME=text).boolean("NAME", default=False) is True


@pytest.mark.parametrize("text", ["0", "false", "False", "NO", "off"])
def test_false_has_many_names(text: str) -> None:
    assert env(NAME=text).boolean("NAME", default=True) is False


def test_a_boolean_has_a_default_and_accepts_nothing_else() -> None:
    assert env().boolean("NAME", default=True) is True
    assert env().boolean("NAME", default=False) is False
    assert "NAME is 'maybe', neither" in refusal(lambda: env(NAME="maybe").boolean("NAME", default=True))


def test_a_choice_is_one_of_its_choices() -> None:
    assert env(NAME="b").choice("NAME", "a", ("a", "b")) == "b"
    assert env().choice("NAME", "a", ("a", "b")) == "a"
    assert "NAME is 'c'. Choose from a, b." in refusal(lambda: env(NAME="c").choice("NAME", "a", ("a", "b")))


def test_an_integer_is_whole_and_at_least_its_minimum() -> None:
    assert env(NAME=" 12 ").integer("NAME", 1) == 12
    assert env(NAME="0").integer("NAME", 1, minimum=0) == 0
    assert env().integer("NAME", 3) == 3
    for text in ("0", "-1", "1.5", "1e3", "two", "0x10", "1_000"):
        assert f"NAME is {text!r}" in refusal(lambda text=text: env(NAME=text).integer("NAME", 1))


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30.0), ("0.5", 0.5), ("*/2", 120.0), ("*/1", 60.0), (" 7 ", 7.0)]
)
def test_seconds_may_be_minutes_of_a_crontab(text: str, seconds: float) -> None:
    assert env(NAME=text).seconds("NAME", 1.0) == seconds


@pytest.mark.parametrize("text", ["0", "*/0", "-1", "*/-2", "inf", "nan", "1e3", "2 minutes", "*/2.5"])
def test_what_is_no_time_is_refused(text: str) -> None:
    assert f"NAME is {text!r}" in refusal(lambda: env(NAME=text).seconds("NAME", 1.0))


def test_seconds_have_a_default() -> None:
    assert env().seconds("NAME", 10) == 10.0


@pytest.mark.parametrize(("text", "size"), [("7", 7), ("2KB", 2048), ("512 MB", 512 << 20), ("4gb", 4 << 30)])
def test_a_size_has_a_unit(text: str, size: int) -> None:
    assert env(NAME=text).size("NAME", "1GB") == size
    assert env().size("NAME", text) == size


@pytest.mark.parametrize("text", ["0", "0GB", "-1", "1.5GB", "4TB", "GB", "1 G"])
def test_what_is_no_size_is_refused(text: str) -> None:
    assert f"NAME is {text!r}" in refusal(lambda: env(NAME=text).size("NAME", "1GB"))


def test_a_folder_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert env(NAME="data").folder("NAME", Path("/var")) == tmp_path / "data"
    assert env(NAME="~/data").folder("NAME", Path("/var")) == Path("/home/somebody/data")
    assert env().folder("NAME", Path("/srv/../srv/data")) == Path("/srv/data")


def test_names_are_a_comma_separated_list() -> None:
    assert env(NAME=" a, b,,c ").names("NAME") == ("a", "b", "c")
    assert env().names("NAME", ("x", "y")) == ("x", "y")
    assert env().names("NAME") == ()


def test_a_secret_keeps_its_blanks() -> None:
    assert env(NAME=" s ").secret("NAME") == " s "


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f" {SPECIAL}\r\n")
    assert env(NAME_FILE=str(file)).secret("NAME") == f" {SPECIAL}"
    assert env(NAME_FILE=str(file), NAME="nearer").secret("NAME") == "nearer"


def test_a_missing_secret_names_both_ways_to_give_it() -> None:
    line = refusal(lambda: env().secret("NAME"))
    assert "NAME is not set" in line
    assert "NAME_FILE" in line
    assert env().secret("NAME", "default") == "default"


def unreadable(tmp_path: Path) -> Path:
    return tmp_path / "missing"


def a_folder(tmp_path: Path) -> Path:
    return tmp_path


def binary(tmp_path: Path) -> Path:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    return tmp_path / "binary"


def empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").write_text("\n")
    return tmp_path / "empty"


@pytest.mark.parametrize("make", [unreadable, a_folder, binary, empty])
def test_a_secrets_file_that_holds_no_secret_is_named(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    assert "NAME_FILE" in refusal(lambda: env(NAME_FILE=str(path)).secret("NAME"))


# --- the broker's address -------------------------------------------------------------------------


@given(user=st.text(min_size=1), password=st.text(min_size=1), vhost=st.text(min_size=1))
def test_any_name_and_password_reach_the_broker(user: str, password: str, vhost: str) -> None:
    values = {"RMQ_USER": user, "RMQ_PASSWORD": password, "RMQ_VHOST": vhost, "IP_MASTER": "10.0.0.1"}
    # Text is stripped and what is blank counts as not given.
    expected = (user.strip() or "guest", password, vhost.strip() or "/")
    connection = connect(Environment(values).broker_url())
    assert (connection.userid, connection.password, connection.virtual_host) == expected
    assert (connection.hostname, connection.port) == ("10.0.0.1", 5672)


@pytest.mark.parametrize("host", ["::1", "[::1]", "fd00::2"])
def test_the_master_may_have_an_ipv6_address(host: str) -> None:
    connection = connect(env(IP_MASTER=host).broker_url())
    assert (connection.hostname, connection.port) == (host.strip("[]"), 5672)
    assert RunnerSettings.read(env(IP_MASTER=host)).master_url == f"http://[{host.strip('[]')}]:8000"


def test_a_developer_needs_no_settings_for_a_local_rabbitmq() -> None:
    assert env().broker_url() == "amqp://guest:guest@localhost:5672/%2F"


@pytest.mark.parametrize("missing", ["RMQ_VHOST", "RMQ_USER", "RMQ_PASSWORD"])
def test_production_needs_the_brokers_settings(missing: str) -> None:
    values = {name: value for name, value in PRODUCTION.items() if name != missing}
    assert f"{missing} is not set" in refusal(Environment(values).broker_url)
    assert Environment(PRODUCTION).broker_url() == "amqp://dr:s@localhost:5672/dr"


@pytest.mark.parametrize(
    "url",
    [
        "amqp://u:p%40ss%3Aw%2Frd%3F%23@host:5672/v%2Fhost",
        "amqps://u:p@host/v",
        "filesystem:///var/lib/data%20run",
    ],
)
def test_a_brokers_url_is_taken_as_it_is(url: str, tmp_path: Path) -> None:
    assert env(BROKER_URL=url, RMQ_USER="other").broker_url() == url
    (tmp_path / "url").write_text(url + "\n")
    assert env(BROKER_URL_FILE=str(tmp_path / "url")).broker_url() == url


def test_quoted_characters_of_a_brokers_url_reach_the_broker() -> None:
    connection = connect("amqp://u%40x:p%40ss%3Aw%2Frd%3F%23@host:5673/v%2Fhost")
    assert (connection.userid, connection.password) == ("u@x", "p@ss:w/rd?#")
    assert (connection.hostname, connection.port, connection.virtual_host) == ("host", 5673, "v/host")


def test_quoted_characters_of_a_brokers_folder_name_the_folder(tmp_path: Path) -> None:
    with connect(f"filesystem://{tmp_path}/a%20b%23%3F%25") as connection:
        connection.default_channel  # noqa: B018 - opens it
    assert (tmp_path / "a b#?%" / "queues").is_dir()


@pytest.mark.parametrize(
    "url", ["redis://localhost", "localhost:5672", "http://u:secret@host", "amqp", "//x"]
)
def test_a_url_of_no_broker_is_refused_without_showing_its_password(url: str) -> None:
    line = refusal(env(BROKER_URL=url).broker_url)
    assert "BROKER_URL" in line
    assert "amqp://" in line
    assert "secret" not in line


@pytest.mark.parametrize("url", ["amqp://[::1", "filesystem://relative/folder", "filesystem://", "amqp:host"])
def test_a_url_without_what_a_broker_needs_is_refused(url: str) -> None:
    assert "BROKER_URL" in refusal(env(BROKER_URL=url).broker_url)


# --- a runner's settings --------------------------------------------------------------------------


def test_a_developers_runner_needs_no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    read = RunnerSettings.read(env())
    assert (read.master_url, read.token, read.slots, read.grace) == (
        *("http://localhost:8000", DEVELOPMENT_TOKEN),
        *(2, 10.0),
    )
    assert read.cache == tmp_path / "var/data/cache"
    assert read.scratch == tmp_path / "var/submissions"


def test_a_runner_reads_its_settings(tmp_path: Path) -> None:
    values = PRODUCTION | {
        "IP_MASTER": "10.0.0.1",
        "DR_RUNNER_TOKEN": " t ",
        "NB_LOCAL_WORKER": "5",
        "DR_GRACE": "*/1",
        "DIR_DATA": str(tmp_path),
    }
    read = RunnerSettings.read(Environment(values))
    assert (read.master_url, read.token, read.slots, read.grace) == ("http://10.0.0.1:8000", " t ", 5, 60.0)
    assert read.cache == tmp_path / "cache"
    assert RunnerSettings.read(Environment(values | {"MASTER_URL": "https://m/"})).master_url == "https://m"


def test_production_needs_a_runners_own_token() -> None:
    line = refusal(lambda: RunnerSettings.read(Environment(PRODUCTION)))
    assert "DR_RUNNER_TOKEN is not set" in line
    assert "createrunner" in line


@pytest.mark.parametrize(("environment", "production"), [("DEV", False), ("PROD", True)])
def test_the_working_environment_is_named(environment: str, production: bool) -> None:
    assert env(DR_WORKING_ENV=environment).production is production
    assert "DR_WORKING_ENV is 'TEST'. Choose from DEV, PROD." in refusal(
        lambda: env(DR_WORKING_ENV="TEST").production
    )


def test_a_bad_setting_ends_the_process_with_one_line() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "from datarun.env import Environment; Environment().integer('SLOTS', 1)"],
        env={"SLOTS": "two\nlines"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == "datarun: SLOTS is 'two\\nlines'. Use a whole number, at least 1.\n"
