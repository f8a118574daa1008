"""A runner of another contract version gets no work, says so, and costs the others nothing."""

import sys

import numpy as np

from datarun.contract.messages import CONTRACT_VERSION
from test_files import post_api
from tests.faults.sabotage import VERSION_VARIABLE

from .platform import CHECKOUT, PASSWORD, USER, Platform, wait_until

IRIS = CHECKOUT / "test_files" / "iris"
FOLDS = range(1, 11)


def test_a_newer_runner_takes_no_work_from_the_others(platform: Platform) -> None:
    platform.set_up({})
    _start_runner_of(platform, CONTRACT_VERSION + 1)
    states = {"odd@test": "incompatible: upgrade it"}
    wait_until(lambda: _states(platform) == states, 30, "news of the runner")
    log = platform.folder / "odd.log"
    wait_until(lambda: "no order is taken, upgrade this runner" in log.read_text(), 30, "a word in its log")

    _post_folds(platform)
    reason = "No live runner serves queue celery."
    wait_until(lambda: reason in platform.fold(1)["waiting"]["why"], 30, "the reason")
    platform.start_runner("good")
    for fold in FOLDS:
        platform.wait_for(fold, "TESTED")
        attempts = platform.get(f"submissionfold/{fold}/attempts/")
        assert [(attempt["number"], attempt["runner"]) for attempt in attempts] == [(1, "good@test")]
    assert _states(platform) == states | {"good@test": "live"}
    assert "parked" not in log.read_text()


def _start_runner_of(platform: Platform, version: int) -> None:
    token = platform.manage("createrunner", "odd")
    worker = ("-m", "celery", "-A", "datarun", "worker", "-l", "info", "-n", "odd@test", "-Q", "L,H,celery")
    platform.start(
        "odd",
        *(sys.executable, "-m", "tests.faults.sabotage", "another_version", *worker),
        DR_RUNNER_TOKEN=token,
        **{VERSION_VARIABLE: str(version)},
    )


def _states(platform: Platform) -> dict[str, str]:
    return {runner["name"]: runner["state"] for runner in platform.get("runners/")}


def _post_folds(platform: Platform) -> None:
    who = (platform.url, USER, PASSWORD)
    data = post_api.post_data(*who, "iris", "species", "classifier", str(IRIS / "iris.csv")).json()["id"]
    assert post_api.post_split(*who, 0.5, data).ok
    rows = np.arange(75)
    for fold in FOLDS:
        more = (data, [str(IRIS / "classifier.py")]) if fold == FOLDS[0] else ()
        posted = post_api.post_submission_fold(*who, 1, fold, rows[:60], rows[60:], "L", *more)
        assert posted.status_code == 201, posted.text
