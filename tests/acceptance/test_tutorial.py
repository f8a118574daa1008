"""The tutorial as its reader follows it: commands are typed in a terminal, files saved, and what it shows comes."""

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.services.server import free_port

from .platform import CHECKOUT, wait_until

TUTORIAL = CHECKOUT / "docs" / "tutorial.rst"
PATIENCE = 240.0  # seconds for one block of commands
_BLOCK = re.compile(
    r"^\.\. code-block:: (\w+)\n(?:   :caption: (.+)\n)?\n((?:   .*\n|\n)+?)(?=^\S|\Z)", re.MULTILINE
)
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


@dataclass(frozen=True)
class Block:
    """`language` is bash, python, toml or text; `caption` the file that it is saved as."""

    language: str
    caption: str
    text: str


def blocks() -> list[Block]:
    found = []
    for language, caption, text in _BLOCK.findall(TUTORIAL.read_text()):
        lines = [line.removeprefix("   ") for line in text.rstrip().splitlines()]
        found.append(Block(language, caption, "\n".join(lines) + "\n"))
    return found


class Reader:
    """Somebody at a terminal: shells one after the other, each in the folder and environment of the one before."""

    def __init__(self, home: Path, port: int, password: str) -> None:
        self.home, self.port, self.password = home, port, password
        self._state = home / ".state"
        self._state.write_text(f"cd {shlex.quote(str(CHECKOUT))}\n")
        self.shown = ""

    def save(self, name: str, text: str) -> None:
        folder = Path(self._run("pwd").strip().splitlines()[-1])
        (folder / name).write_text(text)

    def types(self, commands: str) -> None:
        self.shown = self._run(commands)

    def _run(self, commands: str) -> str:
        """What a terminal of 100 columns has shown."""
        script = (
            f"stty cols 100 rows 40; source {self._state}; set -e\n{self._here(commands)}\n"
            f'{{ export -p; echo cd "$(printf %q "$PWD")"; }} > {self._state}'
        )
        child, terminal = pty.fork()
        if child == 0:
            environment = {
                "HOME": str(self.home),
                "PATH": os.environ["PATH"],
                "TERM": "xterm",
                "LANG": "C.UTF-8",
            }
            os.execve("/bin/bash", ["bash", "-c", script], environment)
        text = self._read(terminal)
        os.close(terminal)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, f"{commands}\n{text}"
        return text

    def _read(self, terminal: int) -> str:
        text, until, told = "", time.monotonic() + PATIENCE, False
        while time.monotonic() < until:
            if not select.select([terminal], [], [], 1.0)[0]:
                continue
            try:
                piece = os.read(terminal, 1 << 16)
            except OSError:  # the shell is gone
                return _CONTROL.sub("", text)
            if not piece:
                return _CONTROL.sub("", text)
            text += piece.decode(errors="replace")
            if "Password:" in text and not told:
                os.write(terminal, f"{self.password}\n".encode())
                told = True
        raise AssertionError(f"nothing more came within {PATIENCE:g} s: {text}")

    def _here(self, text: str) -> str:
        """The text with the address of this test's platform, and its virtual environment."""
        return text.replace(":8000", f":{self.port}").replace(
            "source .venv/bin/activate", f"export PATH={Path(sys.executable).parent}:$PATH"
        )

    def sees(self, expected: str) -> None:
        """Each line is shown, in this order, whatever the numbers; `…` stands for anything."""
        lines = iter(self.shown.splitlines())
        for line in filter(str.strip, self._here(expected).splitlines()):
            pattern = re.compile(_pattern(line))
            assert any(pattern.search(shown) for shown in lines), f"{line!r} is not in\n{self.shown}"


def _pattern(line: str) -> str:
    """Digits are any digits, blanks any blanks."""
    parts = re.split(r"(-?\d+(?:\.\d+)?|…|\s+)", line.strip())
    kinds = ((r"…", ".*"), (r"\s+", r"\s+"), (r"-?\d+(?:\.\d+)?", r"-?\d+(?:\.\d+)?"))
    return "".join(
        next((to for of, to in kinds if re.fullmatch(of, part)), re.escape(part)) for part in parts
    )


@pytest.fixture
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """With `bin/up` running, as the tutorial's first command has it."""
    folder = tmp_path_factory.mktemp("tutorial")
    for parent in (folder, *folder.parents):
        if parent == Path("/tmp"):
            break
        parent.chmod(0o711)
    port, log = free_port(), folder / "up.log"
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with log.open("w") as output:
        up = subprocess.Popen(
            [CHECKOUT / "bin" / "up", "--port", str(port)],
            env=environment | {"DATARUN_HOME": str(folder / "home")},
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: up.poll() is not None or "datarun runs at" in log.read_text(), 120, "the platform")
        password = re.search(r"First admin user: admin   password: (\S+)", log.read_text())
        assert password is not None, log.read_text()
        home = folder / "reader"
        home.mkdir()
        yield Reader(home, port, password[1])
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)


@pytest.mark.timeout(900)
def test_every_command_works_and_shows_what_the_tutorial_shows(reader: Reader) -> None:
    start, told, *rest = blocks()
    assert start == Block("bash", "", "bin/up\n")
    assert "First admin user" in told.text
    for block in rest:
        if block.caption:
            reader.save(block.caption, block.text)
        elif block.language == "bash":
            reader.types(block.text)
        elif block.language == "python":
            reader.types(f"python - <<'END'\n{block.text}END")
        else:
            assert block.language == "text"
            reader.sees(block.text)
