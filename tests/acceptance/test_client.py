"""The client and its command against a platform: an organiser posts a data set, a participant submits to it."""

import json
import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarun import Client
from datarun.client import Dataset, errors, uploads
from datarun.client.transport import Transport
from tests.services import Postgres, RabbitMQ

from .platform import BIN, CHECKOUT, Platform

IRIS = CHECKOUT / "test_files" / "iris"
TREE = (IRIS / "other" / "classifier.py").read_text()
BROKEN = """
class Classifier:
    def fit(self, X, y):
        print("rows", len(X))
        self.depth = self.deep

    def predict_proba(self, X):
        return X
"""
SLOW = BROKEN.replace("self.depth = self.deep", "import time; time.sleep(120)")


@dataclass
class Person:
    """Somebody with a home of their own, logged in."""

    url: str
    home: Path
    name: str

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"}

    def types(self, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """What ``datarun ARGUMENTS`` does."""
        command = [BIN / "datarun", *map(str, arguments)]
        environment, cwd = self.environment, self.home
        return subprocess.run(
            command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=120, **options
        )

    def json(self, *arguments: object) -> Any:
        done = self.types(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def log_in(self) -> None:
        done = self.types("login", self.url, "--user", self.name, "--password-stdin", input="a password\n")
        assert done.returncode == 0, done.stderr

    @property
    def token(self) -> str:
        (file,) = self.home.rglob("login.json")
        return str(json.loads(file.read_text())["token"])

    def folder(self, code: str) -> Path:
        """A submission with this code, in a folder."""
        folder = self.home / uuid.uuid4().hex
        folder.mkdir()
        (folder / "classifier.py").write_text(code)
        return folder


@pytest.fixture(scope="module")
def platform(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, rabbitmq: RabbitMQ
) -> Iterator[Platform]:
    folder, name = tmp_path_factory.mktemp("client"), uuid.uuid4().hex
    made = Platform(folder, postgres.database(f"client_{name}"), rabbitmq.vhost(f"client-{name}"))
    try:
        made.set_up({"runner": "L,H,celery"})
        yield made
    finally:
        made.stop_all()


@pytest.fixture(scope="module")
def people(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Person]:
    found = {}
    for role in ("organiser", "participant", "operator"):
        platform.manage("createuser", role, f"{role}@example.org", "a password", "--role", role)
        found[role] = Person(platform.url, tmp_path_factory.mktemp(role), role)
        found[role].log_in()
    return found


@pytest.fixture(scope="module")
def organiser(people: dict[str, Person]) -> Person:
    return people["organiser"]


@pytest.fixture(scope="module")
def participant(people: dict[str, Person]) -> Person:
    return people["participant"]


@pytest.fixture
def iris(organiser: Person) -> Dataset:
    """A data set of the organiser's, as a client of the organiser's has it."""
    name = f"iris {uuid.uuid4().hex[:8]}"
    pushed = organiser.json("data", "push", IRIS, "--name", name)
    assert pushed["state"] == "ready"
    return Client(organiser.url, organiser.token).dataset(name)


def test_whoami_tells_roles(organiser: Person, participant: Person) -> None:
    assert organiser.json("whoami")["roles"] == ["organiser"]
    assert participant.json("whoami")["roles"] == ["participant"]


def test_a_participant_sees_everything_but_test_scores_until_it_is_closed(
    iris: Dataset, organiser: Person, participant: Person
) -> None:
    done = participant.types(
        "submit", participant.folder(TREE), "--dataset", iris.name, "--name", "tree", "--watch"
    )
    assert done.returncode == 0, done.stderr
    assert "fold 0: done, valid accuracy 0." in done.stderr
    (submission,) = participant.json("status", "--dataset", iris.name)
    id = submission["id"]
    assert set(submission["scores"]) == {"train", "valid"}
    assert set(next(iris.submissions()).value("scores")) == {"train", "valid", "test"}
    assert participant.types("predictions", id, "--json").returncode == 4
    assert len(participant.json("predictions", id, "--part", "train")) == 3

    (row,) = participant.json("leaderboard", iris.name)
    assert (row["rank"], row["name"], row["user"]) == (1, "tree", "participant")
    assert "test" not in row["scores"]

    assert participant.types("data", "close", iris.name).returncode == 4
    assert organiser.json("data", "close", iris.name)["state"] == "closed"
    assert "test" in participant.json("leaderboard", iris.name)[0]["scores"]
    paths = participant.json("predictions", id, "--fold", 1)
    assert np.load(participant.home / paths[0]).shape == (75, 3)
    refused = participant.types("submit", participant.folder(TREE), "--dataset", iris.name, "--force")
    assert refused.returncode == 3
    assert "closed" in refused.stderr


def test_python_has_scores_and_predictions_as_tables(iris: Dataset) -> None:
    submission = iris.submit({"classifier.py": TREE}).wait(timeout=60)
    assert submission.state == "scored"
    scores = submission.scores()
    assert list(scores.columns) == ["fold", "part", "accuracy", "neg_log_loss"]
    assert sorted(set(scores["part"])) == ["test", "train", "valid"]
    valid = scores[scores["part"] == "valid"]["accuracy"]
    summary = submission.summary().set_index(["part", "metric"])
    assert summary.loc[("valid", "accuracy"), "mean"] == pytest.approx(valid.mean())
    assert summary.loc[("valid", "accuracy"), "std"] == pytest.approx(valid.std(ddof=0))
    assert submission.predictions("test").shape == (3, 75, 3)
    assert submission.code() == {"classifier.py": TREE.encode()}
    board = iris.leaderboard()
    assert board["valid_accuracy"].tolist() == [valid.mean()]
    assert "scored" in submission._repr_html_()


def test_what_fails_says_why_there_as_it_does_here(iris: Dataset, organiser: Person) -> None:
    folder = organiser.folder(BROKEN)
    done = organiser.types("submit", folder, "--dataset", iris.name, "--watch")
    assert done.returncode == 1
    (id,) = re.findall(r"Submission (\d+)\.", done.stderr)
    logs = organiser.types("logs", id, "--fold", 0).stdout
    assert logs.startswith("rows ")
    assert "AttributeError: 'Classifier' object has no attribute 'deep'" in logs
    here = organiser.types("check", folder, "--data", IRIS, "--all-rows")
    assert here.returncode == 1
    assert all(line in here.stdout for line in logs.splitlines()[2:])


def test_check_gives_what_the_platform_gives(iris: Dataset, organiser: Person) -> None:
    folder = organiser.folder(TREE)
    here = organiser.json("check", folder, "--data", IRIS, "--fold", 1)
    submission = iris.submit(folder).wait(timeout=60)
    assert submission.folds()[1].scores() == here["scores"]


def test_a_fold_gives_the_same_here_to_the_last_bit(iris: Dataset, organiser: Person) -> None:
    fold = iris.submit({"classifier.py": TREE}).wait(timeout=60).folds()[2]
    told = organiser.json("replay", fold.id, "--data", IRIS)
    assert told["same"]
    assert {(row["part"], row["metric"]) for row in told["scores"]} >= {("test", "accuracy")}
    assert "threads" not in told["surroundings"]
    other = organiser.home / "other.csv"
    other.write_text((IRIS / "iris.csv").read_text() + "1,2,3,4,setosa\n")
    refused = organiser.types("replay", fold.id, "--data", other)
    assert refused.returncode == 2
    assert "other data" in refused.stderr


def test_the_same_code_again_points_to_the_first(iris: Dataset, participant: Person) -> None:
    folder = participant.folder(TREE)
    first = participant.json("submit", folder, "--dataset", iris.name)["id"]
    again = participant.types("submit", folder, "--dataset", iris.name)
    assert again.returncode == 3
    assert f"submission {first}" in again.stderr
    assert participant.json("submit", folder, "--dataset", iris.name, "--force")["id"] != first


def test_over_the_limit_says_when_it_is_possible_again(iris: Dataset, participant: Person) -> None:
    iris._transport.patch(f"datasets/{iris.id}/", {"limits": {"submissions_per_day": 1}})
    participant.json("submit", participant.folder(TREE), "--dataset", iris.name)
    over = participant.types("submit", participant.folder(BROKEN), "--dataset", iris.name)
    assert over.returncode == 7
    assert "ossible again" in over.stderr


def test_cancelled_and_run_again(iris: Dataset, organiser: Person) -> None:
    id = organiser.json("submit", organiser.folder(SLOW), "--dataset", iris.name)["id"]
    organiser.json("cancel", id)
    watched = organiser.types("status", id, "--watch", "--timeout", 60)
    assert (watched.returncode, organiser.json("status", id)["state"]) == (1, "cancelled")
    assert organiser.json("rerun", id)["state"] in ("waiting", "running")
    organiser.json("cancel", id)


def test_a_log_is_followed_to_its_end(iris: Dataset, organiser: Person) -> None:
    code = BROKEN.replace("self.depth = self.deep", "import time; time.sleep(2); print('later', flush=True)")
    id = organiser.json("submit", organiser.folder(code), "--dataset", iris.name)["id"]
    shown = organiser.types("logs", id, "--fold", 0, "-f")
    assert re.search(r"rows \d+\nlater\n", shown.stdout), shown


def test_others_see_nothing_of_it(iris: Dataset, people: dict[str, Person]) -> None:
    submission = iris.submit({"classifier.py": TREE})
    assert people["participant"].types("status", submission.id).returncode == 5
    assert people["operator"].types("status", submission.id).returncode == 4
    assert people["participant"].types("runners").returncode == 4
    (runner,) = people["operator"].json("runners")
    assert runner["state"] == "live"


def test_an_upload_goes_on_with_a_new_token_after_the_old_one_was_revoked(
    organiser: Person, tmp_path: Path
) -> None:
    rows = "a,b,c\n" + "".join(f"{number},{number % 7},{number % 2}\n" for number in range(200_000))
    file, memory = tmp_path / "large.csv", tmp_path / "memory"
    file.write_text(rows)
    client = Client(organiser.url, organiser.token)
    token = client.create_token("to be revoked")
    seen: list[int] = []

    def progress(done: int, total: int) -> None:
        seen.append(done)
        if len(seen) == 3:
            client.revoke_token(token["id"])

    piece = 1 << 18
    with pytest.raises(errors.NotLoggedIn, match="datarun login"):
        uploads.upload(Transport(organiser.url, token["token"]), file, progress, piece, memory)
    assert seen == [0, piece, 2 * piece]
    id = uploads.upload(Transport(organiser.url, organiser.token), file, progress, piece, memory)
    assert seen[3] == 2 * piece
    body = {
        "name": f"large {uuid.uuid4().hex}",
        "target_column": "c",
        "elements": ["classifier"],
        "upload": id,
    }
    cut = {"cv": {"splitter": "KFold"}, "metrics": ["accuracy"]}
    made = Dataset(client._transport, client._transport.post("datasets/", body | cut)).wait(timeout=60)
    assert (made.state, made.n_train) == ("ready", 160_000)


def test_a_data_set_that_can_not_be_prepared_ends_with_1(organiser: Person) -> None:
    name = f"iris {uuid.uuid4().hex[:8]}"
    done = organiser.types("data", "push", IRIS, "--name", name, "--metric", "f1")
    assert done.returncode == 1
    assert "f1_macro" in done.stdout


def test_after_logout_nothing_works(participant: Person) -> None:
    try:
        assert participant.types("logout").returncode == 0
        assert participant.types("whoami").returncode == 4
    finally:
        participant.log_in()
