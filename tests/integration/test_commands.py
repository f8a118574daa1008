"""``manage.py`` posts kits, submits and shows leaderboards, without a web process."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from runapp.models import RawData, Submission
from tests.integration.helpers import (
    CODE,
    fail,
    folds_of,
    in_thread,
    organiser,
    post_scored,
    ready_scored,
    score,
    submit,
)

pytestmark = pytest.mark.django_db


def said(*command: Any) -> str:
    out = StringIO()
    call_command(*map(str, command), stdout=out)
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mine"
    made.mkdir()
    (made / "classifier.py").write_bytes(CODE)
    return made


def test_submit_posts_a_folder_under_its_name(folder: Path) -> None:
    ready_scored(organiser())
    assert "Submitted mine" in said("submit", folder, "--data-set", "flowers", "--user", "organiser")
    submission = Submission.objects.get()
    assert (submission.name, submission.owner.username, len(folds_of(submission.pk))) == (
        "mine",
        "organiser",
        3,
    )


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("--data-set", "flowrs"), "did you mean flowers"),
        (("--data-set", "flowers", "--user", "nobody"), "createuser"),
    ],
)
def test_submit_says_what_is_wrong(folder: Path, command: tuple[str, ...], words: str) -> None:
    ready_scored(organiser())
    with pytest.raises(CommandError, match=words):
        said("submit", folder, *command)
    (folder / "classifier.py").write_text("def :")
    with pytest.raises(CommandError, match="line 1"):
        said("submit", folder, "--data-set", "flowers")
    with pytest.raises(CommandError, match="no folder"):
        said("submit", folder / "missing", "--data-set", "flowers")
    assert not Submission.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_submit_waits_and_shows_scores_and_failures(folder: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from tests.acceptance.platform import wait_until

    ready_scored(organiser())
    with ThreadPoolExecutor(1) as pool:
        out = StringIO()
        command = ("submit", str(folder), "--data-set", "flowers", "--wait")
        future = in_thread(pool, lambda: call_command(*command, stdout=out))
        wait_until(lambda: Submission.objects.filter(folds_made=True).exists(), 30, "the submission")
        first, second, third = folds_of(Submission.objects.get().pk)
        score(first, 0.25)
        score(second, 0.5)
        fail(str(third.job_id), "user_error", "ValueError: third")
        with pytest.raises(CommandError, match="Not every fold"):
            future.result(30)
    assert "valid accuracy 0.25" in out.getvalue()
    assert "valid accuracy: 0.375 ± 0.125" in out.getvalue()
    assert "user_error: ValueError: third" in out.getvalue()


def test_leaderboard_shows_ranks_and_reasons_and_test_scores_if_asked() -> None:
    api = organiser()
    raw_data = ready_scored(api)
    for fold in folds_of(submit(api, raw_data, "complete")):
        score(fold, 0.5)
    submit(api, raw_data, "later")
    shown = said("leaderboard", "flowers").splitlines()
    assert shown[0] == "flowers: accuracy, 2 submissions"
    assert shown[2].split()[:4] == ["1", "complete", "organiser", "0.5000"]
    assert "later: 3 of 3 folds are still to come." in shown
    assert "test" not in shown[1]
    assert said("leaderboard", "flowers", "--private").splitlines()[1].split()[-1] == "test"
    assert said("leaderboard", "flowers", "--csv").startswith("rank,id,name")
    with pytest.raises(CommandError, match="did you mean flowers"):
        said("leaderboard", "flwers")


def test_post_kit_takes_a_folder(tmp_path: Path) -> None:
    for name, content in (("problem.py", "x = 1"), ("data/a.csv", ""), ("submissions/starting_kit/a.py", "")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "problem.pyc").write_bytes(b"")
    assert "Submitted starting_kit" in said("post_kit", tmp_path, "--name", "kit", "--submissions")
    assert set(RawData.objects.get().files) == {"problem.py", "data/a.csv"}
    (tmp_path / "problem.py").unlink()
    with pytest.raises(CommandError, match=r"no problem\.py"):
        said("post_kit", tmp_path, "--name", "other")


def test_closed_data_sets_take_no_submissions(folder: Path) -> None:
    api = organiser()
    raw_data = post_scored(api)
    api.send(f"rawdata/{raw_data}/close/", {})
    with pytest.raises(CommandError, match="closed"):
        said("submit", folder, "--data-set", "flowers")
