"""The web needs no broker: what is posted while RabbitMQ is down runs when it is back."""

import numpy as np

from test_files import post_api
from tests.services import RabbitMQ, server_folder

from .platform import CHECKOUT, PASSWORD, USER, Platform

IRIS = CHECKOUT / "test_files" / "iris"


def test_folds_posted_while_the_broker_is_down_run_later(tmp_path, database_url: str) -> None:  # type: ignore[no-untyped-def]
    with server_folder() as folder, RabbitMQ(folder / "rabbitmq") as rabbit:
        platform = Platform(tmp_path, database_url, rabbit.url)
        try:
            platform.set_up({"runner": "L,H,celery"})
            rabbit.kill()
            _post(platform)
            assert platform.fold(1)["state"] == "TODO"
            rabbit.start()
            fold = platform.wait_for(1, "TESTED", "ERROR")
            assert fold["state"] == "TESTED", fold["log_messages"]
        finally:
            platform.stop_all()


def _post(platform: Platform) -> None:
    who = (platform.url, USER, PASSWORD)
    posted = post_api.post_data(*who, "iris", "species", "classifier", str(IRIS / "iris.csv"))
    assert posted.status_code == 201, posted.text
    data_id = posted.json()["id"]
    assert post_api.post_split(*who, 0.5, data_id).status_code == 200
    rows = np.arange(75)
    fold = post_api.post_submission_fold(
        *who, 1, 1, rows[:60], rows[60:], "L", data_id, [str(IRIS / "classifier.py")]
    )
    assert fold.status_code == 201, fold.text
