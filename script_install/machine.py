"""One machine, over ssh: what it has to have is looked for, and only what is missing or different is changed.

Commands are lists of arguments, quoted once, here. Secrets go through standard input or into files, never into a
command. With `plan` nothing is changed: what would be is noted.
"""

import hashlib
import io
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import paramiko
from fabric import Connection

from .errors import ProvisionError

_CONNECT = 10  # seconds
_MOST = 1800  # seconds for any command: installing packages over a slow line is the longest
_CHUNK = 1 << 16


class Answer(NamedTuple):
    """What a command has said, and its exit code."""

    text: str
    errors: str
    code: int


class Machine:
    """A machine, and what was (or, with `plan`, would be) changed on it."""

    def __init__(
        self, address: str, config: Any, plan: bool = False, say: Callable[[str], None] = lambda text: None
    ):
        self.address, self.plan, self._say = address, plan, say
        self.changes: list[str] = []
        self._connection = Connection(address, config=config, connect_timeout=_CONNECT)
        client, ssh = self._connection.client, self._connection.ssh_config
        # Fabric would accept any key, and knows none.
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        for path in str(ssh.get("userknownhostsfile", "~/.ssh/known_hosts")).split():
            if (known := Path(path).expanduser()).is_file():
                client.load_system_host_keys(str(known))
        self._root: tuple[str, ...] = ()

    @property
    def ssh_port(self) -> int:
        return int(self._connection.port)

    @contextmanager
    def connected(self) -> Iterator["Machine"]:
        """Connects, as root or as somebody who may become root without a password. Raises `ProvisionError`."""
        try:
            self._connection.open()
        except paramiko.BadHostKeyException as error:
            raise ProvisionError(
                "its host key is not the one in known_hosts: somebody answers in its place, or it was installed "
                f"anew. If you are sure of it: ssh-keygen -R {self.address}, then ssh to it once."
            ) from error
        except paramiko.AuthenticationException as error:
            raise ProvisionError(
                "it refuses your key: name the right user and IdentityFile for it in your ssh configuration."
            ) from error
        except paramiko.SSHException as error:
            if "known_hosts" in str(error):
                raise ProvisionError(
                    f"its host key is unknown: ssh to {self.address} once and compare the fingerprint."
                ) from error
            raise ProvisionError(f"ssh fails: {error}") from error
        except OSError as error:
            raise ProvisionError(f"it can't be reached by ssh: {error.strerror or error}") from error
        try:
            if self.run("id", "-u").text.strip() != "0":
                self._root = ("sudo", "-n", "--")
                if self.run("true", check=False).code:
                    raise ProvisionError("its ssh user is not root, and may not sudo without a password.")
            yield self
        finally:
            self._connection.close()

    # Commands

    def run(
        self, *command: str, text: str = "", user: str = "", check: bool = True, what: str = ""
    ) -> Answer:
        """Runs a command as root, or as `user`, with `text` as its input; raises `ProvisionError` if it fails."""
        whole = ("runuser", "-u", user, "--", *command) if user else command
        said = io.BytesIO()
        errors, code = self._transfer(whole, io.BytesIO(text.encode()), said)
        answer = Answer(said.getvalue().decode(errors="replace"), errors, code)
        if check and code:
            last = (errors.strip() or answer.text.strip() or f"exit code {code}").splitlines()[-6:]
            raise ProvisionError(f"{what or ' '.join(command[:3])} failed: {' / '.join(last)}")
        return answer

    def script(
        self, script: str, *arguments: str, text: str = "", check: bool = True, what: str = ""
    ) -> Answer:
        """Runs a constant shell script as root; what varies is in `arguments`, its $1, $2, …"""
        return self.run("sh", "-euc", script, "sh", *arguments, text=text, check=check, what=what)

    def download(self, target: IO[bytes], *command: str, text: str = "") -> None:
        """Copies what a command prints, byte by byte."""
        self._check(command, self._transfer(command, io.BytesIO(text.encode()), target))

    def upload(self, source: IO[bytes], *command: str) -> None:
        """Has a command read all of `source`."""
        self._check(command, self._transfer(command, source, io.BytesIO()))

    def _transfer(self, command: Sequence[str], source: IO[bytes], target: IO[bytes]) -> tuple[str, int]:
        """Runs a command between two files; returns what it complains of, and its exit code.

        Not by Fabric's `run`, which feeds a command one character at a time, and knows text only.
        """
        # The home of root is closed to others, who could not even complain of it.
        line = f"cd / && {shlex.join((*self._root, *command))}"
        try:
            channel = self._connection.transport.open_session()
            channel.settimeout(_MOST)
            channel.exec_command(line)
            with suppress(OSError):  # it has ended without reading all: its exit code says more
                while chunk := source.read(_CHUNK):
                    channel.sendall(chunk)
                channel.shutdown_write()
            while chunk := channel.recv(_CHUNK):
                target.write(chunk)
            errors = b"".join(iter(lambda: channel.recv_stderr(_CHUNK), b""))
            return errors.decode(errors="replace"), channel.recv_exit_status()
        except TimeoutError as error:
            raise ProvisionError(f"{command[0]} did not end within {_MOST} s.") from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise ProvisionError(f"the connection was lost during {command[0]}: {error}") from error

    @staticmethod
    def _check(command: Sequence[str], ended: tuple[str, int]) -> None:
        errors, code = ended
        if code:
            raise ProvisionError(f"{' '.join(command[:3])} failed: {errors.strip() or f'exit code {code}'}")

    # What it has to have

    def change(self, what: str) -> bool:
        """Notes a change; returns whether it is to be made, or only planned."""
        self.changes.append(what)
        self._say(f"{self.address}: {'would ' if self.plan else ''}{what}")
        return not self.plan

    def packages(self, *names: str) -> None:
        """Packages of the distribution, without what they recommend."""
        asked = self.run(
            "dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names, check=False
        ).text
        there = {line.split()[0] for line in asked.splitlines() if line.endswith(" installed")}
        missing = [name for name in names if name not in there]
        if missing and self.change(f"install {', '.join(missing)}"):
            apt = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300")
            # An earlier run may have been cut short; or still be at it: then this fails, and apt-get waits.
            self.run("dpkg", "--configure", "-a", check=False)
            self.run(*apt, "update", what="apt-get update")
            install = ("install", "-y", "--no-install-recommends")
            self.run(*apt, *install, *missing, what=f"apt-get install {' '.join(missing)}")

    def user(self, name: str, home: str) -> None:
        """A system user who can't log in."""
        if self.run("id", "-u", name, check=False).code and self.change(f"add the user {name}"):
            self.run("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", home,
                     "--shell", "/usr/sbin/nologin", name)  # fmt: skip

    def folder(self, path: str, owner: str = "root:root", mode: str = "755") -> None:
        found = self.run("stat", "-c", "%F %U:%G %a", path, check=False).text.strip()
        if found != f"directory {owner} {mode}" and self.change(f"make the folder {path}"):
            user, group = owner.split(":")
            self.run("install", "-d", "-o", user, "-g", group, "-m", mode, path)

    def file(self, path: str, content: str | bytes, owner: str = "root:root", mode: str = "644") -> bool:
        """A file with this content; it is replaced as a whole. Returns whether it was, or would be, changed."""
        data = content.encode() if isinstance(content, str) else content
        asked = 'sha256sum <"$1" && stat -c "%U:%G %a" "$1"'
        found = self.script(asked, path, check=False).text.split()
        if found == [hashlib.sha256(data).hexdigest(), "-", owner, mode]:
            return False
        if self.change(f"write {path}"):
            made = 'umask 077; cat >"$1.new"; chown "$2" "$1.new"; chmod "$3" "$1.new"; mv -f "$1.new" "$1"'
            self.upload(io.BytesIO(data), "sh", "-euc", made, "sh", path, owner, mode)
        return True

    def read(self, path: str) -> str | None:
        """What the file holds, or None if there is none."""
        found = self.run("cat", path, check=False)
        return None if found.code else found.text

    def absent(self, path: str) -> None:
        """No such file or folder."""
        found = self.script('test -e "$1" || test -L "$1"', path, check=False).code == 0
        if found and self.change(f"remove {path}"):
            self.run("rm", "-rf", "--", path)

    def check_supported(self, room: int = 2 << 30) -> None:
        """Raises `ProvisionError` for a distribution that is too old or another, or a disk that is as good as full."""
        release = self.script("cat /etc/os-release", check=False).text
        values = dict(line.split("=", 1) for line in release.splitlines() if "=" in line)
        system = {name: value.strip('"') for name, value in values.items()}
        named = system.get("PRETTY_NAME", "an unknown system")
        oldest = _OLDEST.get(system.get("ID", ""))
        version = system.get("VERSION_ID", "0")
        if oldest is None or float(version) < oldest:
            raise ProvisionError(
                f"{named} is not supported: Debian 12 or newer, or Ubuntu 24.04 or newer, is."
            )
        free = self.run("df", "--output=avail", "-B1", "/opt", "/var").text.split()[1:]
        if min(map(int, free)) < room:
            raise ProvisionError(f"its disk is full: /opt and /var need {room >> 30} GB free.")


_OLDEST = {"debian": 12.0, "ubuntu": 24.04}


def local(*command: str, cwd: Path | None = None) -> str:
    """What a command says on this machine; raises `ProvisionError` if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    if done.returncode:
        raise ProvisionError(
            f"{' '.join(command[:4])} failed: {(done.stderr or done.stdout).strip()[-2000:]}"
        )
    return done.stdout
