"""Typed readers of the environment: the only place that reads settings.

A missing or bad value stops the process with one line that names the variable and the fix. A secret
may also come from a file (`NAME_FILE`). Needs the standard library only: runners read settings too.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

_UNITS = {"": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


class SettingsError(SystemExit):
    """A setting is missing or bad. Left alone, it ends the process with the hint on standard error."""

    def __init__(self, name: str, problem: str, hint: str) -> None:
        super().__init__(f"datarun: {name} {problem}. {hint}")


class Environment:
    """Reads typed values from a mapping of names to text, `os.environ` by default."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = os.environ if values is None else values

    def text(self, name: str, default: str | None = None, hint: str = "Set it in the environment.") -> str:
        value = self._values.get(name, "").strip() or default
        if value is None:
            raise SettingsError(name, "is not set", hint)
        return value

    def secret(self, name: str, default: str | None = None, hint: str = "") -> str:
        """The value of `name`, or what stands in the file that `<name>_FILE` names."""
        if value := self._values.get(name):
            return value  # unlike text, blanks at its ends are part of it
        hint = hint or f"Set it, or {name}_FILE to the path of a file that holds it."
        if path := self.text(f"{name}_FILE", ""):
            return self._secret_of_file(f"{name}_FILE", Path(path), hint)
        return self.text(name, default, hint)

    @staticmethod
    def _secret_of_file(variable: str, path: Path, hint: str) -> str:
        try:
            value = path.read_text().rstrip("\r\n")
        except OSError as error:
            raise SettingsError(variable, f"can't be read: {error.strerror}", hint) from error
        except UnicodeDecodeError as error:
            raise SettingsError(variable, "names a file that is no text", hint) from error
        if not value:
            raise SettingsError(variable, "names a file that is empty", hint)
        return value

    def boolean(self, name: str, default: bool) -> bool:
        value = self.text(name, str(default)).lower()
        if value in {"1", "true", "yes", "on"}:
            return True
        if value in {"0", "false", "no", "off"}:
            return False
        raise SettingsError(name, f"is {value!r}, neither true nor false", "Use 1 or 0.")

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value not in choices:
            raise SettingsError(name, f"is {value!r}", f"Choose from {', '.join(choices)}.")
        return value

    def integer(self, name: str, default: int, minimum: int = 1) -> int:
        value = self.text(name, str(default))
        if not re.fullmatch(r"\d+", value) or int(value) < minimum:
            raise SettingsError(name, f"is {value!r}", f"Use a whole number, at least {minimum}.")
        return int(value)

    def seconds(self, name: str, default: float) -> float:
        """Seconds (``30``), or minutes the way a crontab says them (``*/2``: every 2 minutes)."""
        value = self.text(name, "")
        if not value:
            return default
        match = re.fullmatch(r"\*/(\d+)|(\d+(?:\.\d+)?)", value)
        seconds = 0.0 if match is None else float(match[2] or 60 * int(match[1]))
        if not seconds:
            raise SettingsError(name, f"is {value!r}", "Use seconds (30) or minutes as in a crontab (*/2).")
        return seconds

    def size(self, name: str, default: str) -> int:
        """Bytes: ``1048576``, ``512MB``, ``4GB``."""
        value = self.text(name, default)
        match = re.fullmatch(r"(\d+)\s*(KB|MB|GB|)", value.upper())
        if match is None or not int(match[1]):
            raise SettingsError(name, f"is {value!r}", "Use bytes with a unit: 512MB, 4GB.")
        return int(match[1]) * _UNITS[match[2]]

    def host(self, name: str, default: str) -> str:
        """A host, `in_url`."""
        return in_url(self.text(name, default))

    def folder(self, name: str, default: Path) -> Path:
        return Path(self.text(name, str(default))).expanduser().resolve()

    def names(self, name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A comma-separated list."""
        return tuple(part.strip() for part in self.text(name, ",".join(default)).split(",") if part.strip())

    @property
    def production(self) -> bool:
        return self.choice("DR_WORKING_ENV", "DEV", ("DEV", "PROD")) == "PROD"

    def broker_url(self) -> str:
        """`BROKER_URL`, or RabbitMQ on `IP_MASTER` with `RMQ_VHOST`, `RMQ_USER` and `RMQ_PASSWORD`."""
        url = self.secret("BROKER_URL", default="")
        if url:
            if not _is_broker_url(url):
                hint = "Use amqp://user:password@host:5672/vhost, or filesystem:///path on one machine."
                raise SettingsError("BROKER_URL", "names no broker", hint)
            return url
        guest = None if self.production else "guest"
        user, password = self.text("RMQ_USER", guest), self.secret("RMQ_PASSWORD", guest)
        vhost = self.text("RMQ_VHOST", None if self.production else "/", "Set it, or BROKER_URL.")
        host = self.host("IP_MASTER", "localhost")
        return f"amqp://{quote(user, safe='')}:{quote(password, safe='')}@{host}:5672/{quote(vhost, safe='')}"


def in_url(host: str) -> str:
    """`host` as URLs have it: with brackets if it is an IPv6 address."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _is_broker_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        if parts.scheme == "filesystem":
            return not parts.netloc and len(parts.path) > 1
        return parts.scheme in {"amqp", "amqps"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a malformed host or port
        return False
