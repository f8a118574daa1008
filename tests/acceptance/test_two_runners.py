"""RabbitMQ, PostgreSQL and two runners: the examples' predictions equal local ones, bit by bit."""

import subprocess
import sys

from .platform import CHECKOUT, PASSWORD, USER, Platform


def test_examples_equal_local_predictions(platform: Platform) -> None:
    platform.set_up({"light": "L,celery", "heavy": "L,H"})
    done = subprocess.run(
        [sys.executable, CHECKOUT / "test_files" / "test_workflow.py", platform.url, USER, PASSWORD],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr + platform.logs()
    assert done.stdout.count("Oh yeah 1!") == done.stdout.count("Oh yeah 2!") == 3
