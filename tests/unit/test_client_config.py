"""Where the token is kept, who can read it, and what comes first."""

import os
import stat
from pathlib import Path

import pytest

from datarun.client import config, errors
from datarun.client.config import Login

KEPT = Login("https://lab/", "secret", "me", 7)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATARUN_URL", "DATARUN_TOKEN", "DATARUN_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_what_was_kept_is_found_again() -> None:
    file = config.store(KEPT)
    assert config.login() == KEPT
    assert config.login_for("lab") == KEPT
    assert file.parent.name == "datarun"


@pytest.mark.skipif(os.name != "posix", reason="has no modes")
def test_its_owner_alone_can_read_it_whatever_the_umask() -> None:
    before = os.umask(0)
    try:
        file = config.store(KEPT)
        config.store(KEPT)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == [file.name]


@pytest.mark.skipif(os.name != "posix", reason="has no modes")
def test_a_file_that_others_can_read_is_not_used() -> None:
    file = config.store(KEPT)
    file.chmod(0o640)
    with pytest.raises(errors.ConfigError, match="Others can read your token"):
        config.login()


def test_without_a_login_the_command_is_named() -> None:
    with pytest.raises(errors.ConfigError, match="datarun login"):
        config.login()


def test_a_token_is_for_its_own_platform_only() -> None:
    config.store(KEPT)
    with pytest.raises(errors.ConfigError, match="no token for https://other/"):
        config.login_for("https://other")


def test_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config.store(KEPT)
    monkeypatch.setenv("DATARUN_TOKEN", "other")
    assert config.login().token == "other"
    assert config.login().url == KEPT.url
    monkeypatch.setenv("DATARUN_URL", "http://localhost:8000")
    assert config.login() == Login("http://localhost:8000/", "other")
    monkeypatch.delenv("DATARUN_TOKEN")
    with pytest.raises(errors.ConfigError, match="http://localhost:8000/"):
        config.login()
    (tmp_path / "token").write_text("of a file\n")
    monkeypatch.setenv("DATARUN_TOKEN_FILE", str(tmp_path / "token"))
    assert config.login().token == "of a file"


def test_a_damaged_file_is_told() -> None:
    config.store(KEPT).write_text("{")
    with pytest.raises(errors.ConfigError, match="damaged"):
        config.login()


def test_a_folder_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("")
    with pytest.raises(errors.ConfigError, match="can't be kept"):
        config.store(KEPT)
