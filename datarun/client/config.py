"""Where the command keeps the platform's address and the token: in the usual place, readable by its owner only.

``DATARUN_URL`` and ``DATARUN_TOKEN`` (or ``DATARUN_TOKEN_FILE``) come first, where they are set.
"""

import json
import os
import stat
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .errors import ConfigError
from .transport import platform_url

_FILE = "login.json"


@dataclass(frozen=True, slots=True)
class Login:
    """An address, the token for it, and whose and which token that is, where it is known."""

    url: str
    token: str
    user: str = ""
    token_id: int | str | None = None


def path() -> Path:
    import platformdirs

    return platformdirs.user_config_path("datarun") / _FILE


def login() -> Login:
    """The login to use; raises `ConfigError` if there is none."""
    if url := os.environ.get("DATARUN_URL", ""):
        return login_for(url)
    if (stored := _stored()) is None:
        raise ConfigError("Log in first: datarun login ADDRESS (or set DATARUN_URL and DATARUN_TOKEN).")
    return replace(stored, token=_token_of_environment() or stored.token)


def login_for(url: str) -> Login:
    """The login to this platform; raises `ConfigError` if there is none."""
    url = platform_url(url)
    if token := _token_of_environment():
        return Login(url, token)
    stored = _stored()
    if stored is None or stored.url != url:
        raise ConfigError(f"There is no token for {url}: run datarun login {url}, or set DATARUN_TOKEN.")
    return stored


def store(login: Login) -> Path:
    """Keeps the login, in place of the one before; returns in which file."""
    file = path()
    new = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Its owner's from its first byte on.
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as stream:
            new.chmod(0o600)  # it may be left from before
            json.dump(asdict(login), stream)
        new.replace(file)
    except OSError as error:
        raise ConfigError(f"The token can't be kept in {file}: {error.strerror}.") from error
    return file


def forget() -> None:
    path().unlink(missing_ok=True)


def _token_of_environment() -> str:
    if token := os.environ.get("DATARUN_TOKEN", "").strip():
        return token
    if not (name := os.environ.get("DATARUN_TOKEN_FILE", "")):
        return ""
    try:
        return Path(name).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"DATARUN_TOKEN_FILE can't be read: {error}.") from error


def _stored() -> Login | None:
    file = path()
    try:
        mode = file.stat().st_mode
        content = json.loads(file.read_text())
        found = Login(**content)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{file} can't be read: {error.strerror}.") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{file} is damaged: run datarun login.") from error
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"Others can read your token in {file}: chmod 600 it, or run datarun login for a new one."
        )
    return found
