"""Reads `env.sh`: assignments as a shell reads them, without running one.

    export DR_DATABASE_PASSWORD='any $character "at" all'

Quotes and backslashes are the shell's, so that a password may have any character, in single quotes. What a
shell would replace (`$NAME`, `` `command` ``) is refused where it stands unquoted or in double quotes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datarun.env import Environment, SettingsError

from .errors import ProvisionError

#: What `env.sh` must have; everything else has a default.
_NEEDED = ("DR_DATABASE_NAME", "DR_DATABASE_USER", "DR_DATABASE_PASSWORD", "USER_LOGIN", "USER_PSWD", "DR_EMAIL",
           "RMQ_VHOST", "IP_MASTER")  # fmt: skip
#: Secrets: never in a file that all may read.
_SECRET = ("DR_DATABASE_PASSWORD", "USER_PSWD")
#: What tunes web and scheduler, and what tunes runners (docs/settings.rst): handed on as it is.
_MASTER = ("CELERY_SCHEDULER_PERIOD", "DR_FOLD_TIME_LIMIT", "DR_FOLD_MEMORY_LIMIT", "DR_FOLD_CPU_LIMIT",
           "DR_FOLD_DISK_LIMIT", "DR_SHARE", "DR_MAX_RUNNING", "DR_RETENTION_DAYS", "DR_MAX_BODY", "DR_MAX_FILE",
           "DR_S3_BUCKET", "DR_S3_ENDPOINT", "DR_S3_REGION", "DR_S3_ACCESS_KEY",
           "DR_LOG_FORMAT", "WEB_CONCURRENCY")  # fmt: skip
_RUNNER = ("NB_LOCAL_WORKER", "DR_GRACE", "DR_LOG_FORMAT")
_OTHER = (
    "DIR_DATA",
    "DIR_SUBMISSION",
    "ALLOWED_HOSTS",
    "DR_TLS",
    "DR_TLS_CERTIFICATE",
    "DR_TLS_KEY",
    "DR_S3_SECRET_KEY",
)
_KNOWN = frozenset(_NEEDED + _MASTER + _RUNNER + _OTHER)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SELF_SIGNED, _LETS_ENCRYPT, _OWN = TLS = ("self-signed", "letsencrypt", "own")
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class Settings:
    """What `env.sh` says, checked."""

    master: str
    hosts: tuple[str, ...]
    database: str
    database_user: str
    database_password: str = field(repr=False)
    admin: str
    admin_password: str = field(repr=False)
    email: str
    vhost: str
    data: str
    submissions: str
    grace: int
    tls: str
    certificate: Path | None
    key: Path | None
    bucket: str
    bucket_secret: str = field(repr=False)
    tuning_master: Mapping[str, str]
    tuning_runner: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> "Settings":
        """The settings in the file; raises `ProvisionError`, which names the file and the variable."""
        try:
            values = parse(path.read_text(), str(path))
        except FileNotFoundError:
            raise ProvisionError(f"{path} is missing: copy env.example.sh there and fill it in.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ProvisionError(f"{path} can't be read: {error}.") from error
        for name in values.keys() - _KNOWN:
            raise ProvisionError(
                f"{path}: {name} is no setting of the installation: remove it, or mend its name."
            )
        for name in _NEEDED:
            if not values.get(name):
                raise ProvisionError(f"{path}: {name} is missing: add a line export {name}='…'.")
        try:
            return cls._checked(values)
        except SettingsError as error:
            raise ProvisionError(f"{path}: {str(error).removeprefix('datarun: ')}") from error

    @classmethod
    def _checked(cls, values: Mapping[str, str]) -> "Settings":
        env = Environment(values)
        for name in ("DR_DATABASE_NAME", "DR_DATABASE_USER"):
            if not _IDENTIFIER.fullmatch(env.text(name)):
                raise SettingsError(
                    name, f"is {values[name]!r}", "Use small letters, digits and underscores."
                )
        for name in _SECRET:
            if any(character in values[name] for character in "\r\n\0"):
                raise SettingsError(name, "has a line break", "A password is one line.")
        for name in ("DIR_DATA", "DIR_SUBMISSION"):
            if not values.get(name, "/").startswith("/"):
                raise SettingsError(
                    name, "is no absolute path", "It names a folder of the machines: start it with /."
                )
        tls = env.choice("DR_TLS", _SELF_SIGNED, TLS)
        own = tls == _OWN
        master = env.text("IP_MASTER")
        return cls(
            master=master,
            hosts=env.names("ALLOWED_HOSTS", (master,)),
            database=env.text("DR_DATABASE_NAME"),
            database_user=env.text("DR_DATABASE_USER"),
            database_password=values["DR_DATABASE_PASSWORD"],
            admin=env.text("USER_LOGIN"),
            admin_password=values["USER_PSWD"],
            email=env.text("DR_EMAIL"),
            vhost=env.text("RMQ_VHOST"),
            data=env.text("DIR_DATA", "/var/lib/datarun/data"),
            submissions=env.text("DIR_SUBMISSION", "/var/lib/datarun/submissions"),
            grace=round(env.seconds("DR_GRACE", 60)),
            tls=tls,
            certificate=_file(env, "DR_TLS_CERTIFICATE") if own else None,
            key=_file(env, "DR_TLS_KEY") if own else None,
            bucket=env.text("DR_S3_BUCKET", ""),
            bucket_secret=values.get("DR_S3_SECRET_KEY", ""),
            tuning_master={name: values[name] for name in _MASTER if values.get(name)},
            tuning_runner={name: values[name] for name in _RUNNER if values.get(name)},
        )


def _file(env: Environment, name: str) -> Path:
    path = Path(env.text(name, hint="DR_TLS=own needs the path of a local PEM file.")).expanduser()
    if not path.is_file():
        raise SettingsError(name, f"names no file: {path}", "Give the path of a local PEM file.")
    return path


def parse(text: str, name: str) -> dict[str, str]:
    """The assignments in `text`. Raises `ProvisionError` with file, line and, where it is known, variable."""
    reader, values = _Reader(text, name), {}
    while (assignment := reader.assignment()) is not None:
        variable, value = assignment
        if variable in values:
            raise reader.error(f"{variable} is set a second time: leave one of the two.")
        values[variable] = value
    return values


class _Reader:
    """Goes through the text once, a word at a time."""

    def __init__(self, text: str, name: str) -> None:
        self._text, self._name, self._at = text, name, 0
        self._about = ""  # the variable whose value is being read

    def error(self, problem: str) -> ProvisionError:
        line = self._text.count("\n", 0, self._at) + 1
        return ProvisionError(f"{self._name}, line {line}: {problem}")

    def assignment(self) -> tuple[str, str] | None:
        self._about = ""
        while self._skip_blanks():
            match = re.compile(r"([^\s=#'\"]+)(=?)").match(self._text, self._at)
            if match is None:
                raise self.error("no assignment: write export NAME='value'.")
            if match[1] == "export" and not match[2]:
                self._at = match.end()
                continue
            if not match[2] or not _NAME.fullmatch(match[1]):
                raise self.error(
                    f"{match[1]!r} is no assignment: write export NAME='value', without blanks around =."
                )
            self._about, self._at = match[1], match.end()
            return match[1], self._value()
        return None

    def _skip_blanks(self) -> bool:
        """Past blanks, semicolons and comments; returns whether anything follows."""
        match = re.compile(r"(?:[\s;]|\\\n|#[^\n]*)*").match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._at < len(self._text)

    def _value(self) -> str:
        value = ""
        while self._at < len(self._text) and (character := self._text[self._at]) not in " \t\r\n;":
            self._at += 1
            if character == "'":
                value += self._until_quote()
            elif character == '"':
                value += self._double_quoted()
            elif character == "\\":
                value += self._escaped("")
            elif character in "$`&|<>()":
                raise self.error(
                    f"{self._about} has an unquoted {character}: put its value in single quotes."
                )
            else:
                value += character
        return value

    def _until_quote(self) -> str:
        end = self._text.find("'", self._at)
        if end < 0:
            raise self.error(f"the quote around {self._about} is never closed.")
        quoted, self._at = self._text[self._at : end], end + 1
        return quoted

    def _double_quoted(self) -> str:
        value, begin = "", self._at
        while self._at < len(self._text):
            character = self._text[self._at]
            self._at += 1
            if character == '"':
                return value
            if character in "$`":
                raise self.error(f"{self._about} has a {character} in double quotes: use single quotes.")
            value += self._escaped('"\\$`\n') if character == "\\" else character
        self._at = begin
        raise self.error(f"the quote around {self._about} is never closed.")

    def _escaped(self, only: str) -> str:
        """What stands behind a backslash; where only some characters can be escaped, others keep it."""
        character = self._text[self._at : self._at + 1]
        self._at += 1
        if character == "\n":
            return ""
        return character if not only or character in only else f"\\{character}"
