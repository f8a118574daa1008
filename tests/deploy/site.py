"""A site to deploy: a master, three runners, the operator's files and commands, and a user who submits folds."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import requests

from tests.acceptance.platform import wait_until
from tests.deploy.machines import Machine, base, run

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.append(str(CHECKOUT / "test_files"))
import post_api  # noqa: E402

USER, PASSWORD = "MrTest", "us'er p@ss\"w$rd`1`"
DATABASE_PASSWORD = "d@ta/b:a s%e\\ #p'w\"d$é"
VARIABLES = {
    "IP_MASTER": "10.88.0.10",
    "DR_DATABASE_NAME": "datarun",
    "DR_DATABASE_USER": "datarun",
    "DR_DATABASE_PASSWORD": DATABASE_PASSWORD,
    "RMQ_VHOST": "datarun",
    "USER_LOGIN": USER,
    "USER_PSWD": PASSWORD,
    "DR_EMAIL": "test@example.org",
    "DR_GRACE": "30",
    "CELERY_SCHEDULER_PERIOD": "1",
}
FINISHED = {"TESTED", "ERROR"}
_SLOW = """
import time
from sklearn.dummy import DummyClassifier


class Classifier(DummyClassifier):
    def fit(self, X, y):
        time.sleep(4)
        return super().fit(X, y)
"""
_IRIS = CHECKOUT / "test_files" / "iris" / "iris.csv"


class Site:
    """`master`, `runners`, and what is done to them from outside."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._key = folder, folder / "key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key))
        made = [
            Machine(folder, base(), name, f"10.88.0.{number}", self._key)
            for name, number in (("master", 10), ("one", 11), ("two", 12), ("three", 13))
        ]
        self.master, self.runners = made[0], made[1:]
        self.env, self.list = folder / "env.sh", folder / "list_runners.txt"
        self.known_hosts, self.ca = folder / "known_hosts", folder / "ca.pem"
        self.write_env()
        self.write_list(self.runners)
        self.known_hosts.write_text("".join(machine.known_host() for machine in made))
        self.write_ssh(self._key)

    @property
    def machines(self) -> list[Machine]:
        return [self.master, *self.runners]

    def write_env(self, **changed: str) -> None:
        quoted = {name: value.replace("'", "'\\''") for name, value in (VARIABLES | changed).items()}
        self.env.write_text("".join(f"export {name}='{value}'\n" for name, value in quoted.items()))

    def write_list(self, runners: Sequence[Machine]) -> None:
        serves = ("L,celery 360 300", "L,H", "L,celery")
        lines = (f"{runner.address} 2 {serves[self.runners.index(runner)]}" for runner in runners)
        self.list.write_text("# address workers queues limits\n" + "\n".join(lines))

    def write_ssh(self, key: Path) -> None:
        (self.folder / "ssh_config").write_text(
            f"Host *\n User root\n IdentityFile {key}\n IdentitiesOnly yes\n UserKnownHostsFile {self.known_hosts}\n"
        )

    def cut_short(self, task: str, at: str) -> None:
        """Begins a task of `fab`, and kills it where it says `at`."""
        command = self._command(task, file=False)
        with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as begun:
            assert begun.stdout is not None
            assert any(at in line for line in begun.stdout)
            begun.kill()

    def _command(self, task: str, *options: str, file: bool) -> list[str]:
        ours = ("--env", str(self.env), *(("--file", str(self.list)) if file else ()))
        fab = str(Path(sys.executable).parent / "fab")
        return [fab, "-S", str(self.folder / "ssh_config"), task, *ours, *options]

    def fab(
        self, task: str, *options: str, checkout: Path = CHECKOUT, code: int = 0, file: bool = True
    ) -> str:
        """What a task of `fab` says; `code` is the exit code that it must end with."""
        command = self._command(task, *options, file=file)
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        done = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=1500
        )
        assert done.returncode == code, done.stdout + done.stderr
        for secret in (PASSWORD, DATABASE_PASSWORD):
            assert secret not in done.stdout + done.stderr
        return done.stdout + done.stderr

    def trust_master(self) -> None:
        """What a user does who is to trust a self-signed master."""
        self.ca.write_text(self.master.run("cat", "/etc/datarun/tls/ca.pem"))
        os.environ["REQUESTS_CA_BUNDLE"] = str(self.ca)

    # A user

    @property
    def platform(self) -> tuple[str, str, str]:
        return f"https://{self.master.address}/", USER, PASSWORD

    def post_data(self, number: int) -> int:
        """Posts a small data set, and returns its id."""
        data = post_api.post_data(
            *self.platform, f"iris {number}", "species", "classifier", str(_IRIS)
        ).json()
        post_api.post_split(*self.platform, 0.25, data["id"]).raise_for_status()
        return int(data["id"])

    def post_fold(self, data: int, submission: int, fold: int) -> None:
        """Submits a fold that takes four seconds."""
        code = self.folder / "classifier.py"
        code.write_text(_SLOW)
        post_api.post_submission_fold(
            *self.platform, submission, fold, np.arange(80), np.arange(80, 112),
            raw_data_id=data, list_submission_files=[str(code)], priority="L",
        ).raise_for_status()  # fmt: skip

    def submit(self, first: int, number: int) -> list[int]:
        """Submits so many such folds; returns their ids."""
        data, ids = self.post_data(first), list(range(first, first + number))
        for fold in ids:
            self.post_fold(data, first, fold)
        return ids

    def submit_during(self, work: Callable[[], str], first: int) -> tuple[str, list[int]]:
        """Submits a fold a second while `work` is done; returns what `work` says, and the folds' ids.

        Where the web was away it is tried again, and found there if only the answer was lost.
        """
        data, ids = self.post_data(first), list(range(first, first + 8))
        for fold in ids:
            self.post_fold(data, first, fold)
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(work)
            while not wait([working], timeout=1).done:
                fold = ids[-1] + 1
                try:
                    self.post_fold(data, first, fold)
                except requests.HTTPError as error:
                    if error.response.status_code >= 500:
                        continue
                except requests.RequestException:
                    continue
                ids.append(fold)
            return working.result(), ids

    def post_large(self) -> None:
        """Posts a data set that is too large to be kept in the database."""
        table = self.folder / "large.csv"
        rows = np.random.default_rng(0).random((5000, 3))
        table.write_text("a,b,y\n" + "\n".join(f"{a},{b},{round(y)}" for a, b, y in rows))
        post_api.post_data(*self.platform, "large", "y", "classifier", str(table)).raise_for_status()

    def fold_states(self, ids: Sequence[int]) -> dict[int, str]:
        rows: list[dict[str, Any]] = post_api.get_submission_fold_light(*self.platform).json()
        return {row["databoard_sf_id"]: row["state"] for row in rows if row["databoard_sf_id"] in ids}

    def await_running(self, ids: Sequence[int]) -> None:
        """Returns when some of the folds are done and others are not."""
        wait_until(lambda: "TESTED" in self.fold_states(ids).values(), 300, "a first fold")
        assert {"TODO", "TRAINED"} & set(self.fold_states(ids).values()), "too few folds to be in flight"

    def await_tested(self, ids: Sequence[int]) -> None:
        wait_until(lambda: set(self.fold_states(ids).values()) <= FINISHED, 600, "the end of all folds")
        assert self.fold_states(ids) == dict.fromkeys(ids, "TESTED")

    def rows(self) -> dict[str, str]:
        """The content of the tables that hold what users have, as the database says it."""
        tables = ("auth_user", "runapp_rawdata", "runapp_submission", "runapp_submissionfold", "runapp_prediction",
                  "runapp_blob", "runapp_runnertoken")  # fmt: skip
        return {
            table: self.master.run(
                "runuser", "-u", "postgres", "--", "psql", "-At", "-d", "datarun",
                "-c", f"SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) || ' ' || count(*) FROM {table} t",
            ).strip()
            for table in tables
        }  # fmt: skip

    def next_version(self) -> Path:
        """A checkout like this one, of the next contract version."""
        copy = self.folder / "next"
        copy.mkdir()
        for name in ("datarun", "runapp", "script_install"):
            shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in (
            "pyproject.toml",
            "README.md",
            "LICENSE",
            "manage.py",
            "gunicorn.conf.py",
            "requirements.txt",
            "fabfile.py",
        ):
            shutil.copy(CHECKOUT / name, copy / name)
        contract = copy / "datarun/contract/messages.py"
        text = contract.read_text()
        line = next(line for line in text.splitlines() if line.startswith("CONTRACT_VERSION = "))
        contract.write_text(text.replace(line, f"CONTRACT_VERSION = {int(line.split()[-1]) + 1}"))
        return copy
