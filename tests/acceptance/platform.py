"""A deployed platform for tests: web, scheduler and runners as processes, by the real commands."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests

from tests.services.server import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
USER, PASSWORD = "MrTest", "test"


def wait_until(condition: Callable[[], Any], timeout: float, what: str, pause: float = 0.05) -> Any:
    """What `condition` returns as soon as it is true; it is asked every `pause` seconds."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        if value := condition():
            return value
        time.sleep(pause)
    raise AssertionError(f"{what} did not come about within {timeout:g} s")


class Platform:
    """Processes by name; each keeps its log in `folder`."""

    def __init__(self, folder: Path, database_url: str, broker_url: str, **extra: str) -> None:
        self.folder = folder
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/"
        self.environment = {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "DATABASE_URL": database_url,
            "BROKER_URL": broker_url,
            "DIR_DATA": str(folder / "data"),
            "DIR_SUBMISSION": str(folder / "submissions"),
            "MASTER_URL": self.url,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "PYTHONUNBUFFERED": "1",
            **extra,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def manage(self, *arguments: str) -> str:
        """What ``manage.py`` prints."""
        done = subprocess.run(
            [BIN / "python", "manage.py", *arguments],
            env=self.environment,
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def start(self, name: str, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=self.environment | environment,
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def start_web(self) -> None:
        self.start("web", "gunicorn", "--bind", f"127.0.0.1:{self.environment['PORT']}", "datarun.wsgi")
        wait_until(self._web_answers, 30, "an answer of the web process")

    def start_scheduler(self, name: str = "scheduler") -> None:
        self.start(name, "python", "manage.py", "scheduler")

    def start_runner(self, name: str, queues: str = "L,H,celery", slots: int = 1, *options: str) -> None:
        token = self.manage("createrunner", name)
        self.start(
            name,
            *("celery", "-A", "datarun", "worker", "-l", "info", "-n", f"{name}@test"),
            *("-Q", queues, "-c", str(slots), *options),
            DR_RUNNER_TOKEN=token,
        )

    def set_up(self, runners: Mapping[str, str]) -> None:
        """Tables, a user, and all processes; `runners` maps names to queues."""
        self.manage("migrate")
        self.manage("createuser", USER, "test@example.org", PASSWORD)
        self.start_web()
        self.start_scheduler()
        for name, queues in runners.items():
            self.start_runner(name, queues)

    def get(self, path: str) -> Any:
        response = requests.get(f"{self.url}runapp/{path}", auth=(USER, PASSWORD), timeout=30)
        assert response.ok, response.text
        return response.json()

    def fold(self, fold_id: int) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"submissionfold/{fold_id}/")
        return found

    def wait_for(self, fold_id: int, *states: str, timeout: float = 60) -> dict[str, Any]:
        """The fold as soon as it is in one of `states`."""

        def reached() -> dict[str, Any] | None:
            fold = self.fold(fold_id)
            return fold if fold["state"] in states else None

        found: dict[str, Any] = wait_until(reached, timeout, f"fold {fold_id} in {' or '.join(states)}")
        return found

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(30)

    def stop_all(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def logs(self) -> str:
        return "\n".join(f"--- {path.stem}\n{path.read_text()}" for path in self.folder.glob("*.log"))

    def _web_answers(self) -> bool:
        assert self.processes["web"].poll() is None, self.logs()
        try:
            with urllib.request.urlopen(f"{self.url}readyz", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
