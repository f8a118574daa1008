"""A running fold shows what it prints, can be cancelled with all its processes, run again, and replaced."""

from pathlib import Path

import numpy as np
import psutil
import requests

from test_files import post_api

from .platform import CHECKOUT, PASSWORD, USER, Platform, wait_until

IRIS = CHECKOUT / "test_files" / "iris"

ENDLESS = """
import os, subprocess, sys, time

class Classifier:
    def fit(self, X, y):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)  # of fold MARK"])
        print("training starts")
        while True:
            time.sleep(0.1)
"""


def test_cancel_and_replacing_end_a_running_fold_and_rerun_keeps_history(
    platform: Platform, tmp_path: Path
) -> None:
    platform.set_up({"runner": "L,H,celery"})
    who = (platform.url, USER, PASSWORD)
    data = post_api.post_data(*who, "iris", "species", "classifier", str(IRIS / "iris.csv")).json()["id"]
    assert post_api.post_split(*who, 0.5, data).ok
    mark = platform.url.rsplit(":", 1)[1].strip("/")
    classifier = tmp_path / "classifier.py"
    classifier.write_text(ENDLESS.replace("MARK", mark))
    rows = np.arange(75)
    posted = post_api.post_submission_fold(*who, 1, 1, rows[:60], rows[60:], "L", data, [str(classifier)])
    assert posted.status_code == 201, posted.text

    wait_until(lambda: "training starts" in platform.get("submissionfold/1/log/")["log"], 60, "its output")
    assert _processes(mark)
    _post(platform, "submissionfold/1/cancel/")
    fold = platform.wait_for(1, "ERROR", timeout=15)
    assert fold["waiting"] is None
    assert not _processes(mark)

    _post(platform, "submissionfold/1/rerun/")
    wait_until(
        lambda: "training starts" in platform.get("submissionfold/1/log/")["log"], 60, "its output again"
    )
    attempts = platform.get("submissionfold/1/attempts/")
    assert [attempt["number"] for attempt in attempts] == [1, 2]
    assert attempts[0]["runner"] == attempts[1]["runner"] == "runner@test"

    files = [str(IRIS / "classifier.py")]
    force = "submission, submission_fold"
    replaced = post_api.post_submission_fold(*who, 1, 1, rows[:60], rows[60:], "L", data, files, force=force)
    assert replaced.status_code == 201, replaced.text
    wait_until(lambda: not _processes(mark), 15, "the end of what was replaced")
    assert platform.wait_for(1, "TESTED", "ERROR")["state"] == "TESTED"


def test_a_waiting_fold_says_why_and_is_cancelled_at_once(platform: Platform) -> None:
    platform.set_up({})
    who = (platform.url, USER, PASSWORD)
    data = post_api.post_data(*who, "iris", "species", "classifier", str(IRIS / "iris.csv")).json()["id"]
    rows = np.arange(75)
    files = [str(IRIS / "classifier.py")]
    assert post_api.post_submission_fold(*who, 1, 1, rows[:60], rows[60:], "H", data, files).ok
    assert "has not been split yet" in platform.fold(1)["waiting"]["why"]
    assert post_api.post_split(*who, 0.5, data).ok
    reason = "No live runner serves queue celery"
    wait_until(lambda: reason in platform.fold(1)["waiting"]["why"], 30, "a scheduler at work")
    assert _post(platform, "submissionfold/1/cancel/") == {"jobs": 1}
    assert platform.fold(1)["state"] == "ERROR"


def _post(platform: Platform, path: str) -> object:
    answer = requests.post(f"{platform.url}runapp/{path}", auth=(USER, PASSWORD), timeout=30)
    assert answer.ok, answer.text
    return answer.json()


def _processes(mark: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(f"of fold {mark}" in word for word in process.info["cmdline"] or ())
    ]
