"""While PostgreSQL is away the web says so, in its own words, and serves again when it is back."""

from pathlib import Path

import requests

from tests.services import Postgres, server_folder

from .platform import PASSWORD, USER, Platform


def test_while_the_database_is_away_the_web_says_so_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    with server_folder() as folder, Postgres(folder / "postgres") as postgres:
        platform = Platform(tmp_path, postgres.url, "amqp://nobody-connects-to-it")
        try:
            platform.manage("migrate")
            platform.manage("createuser", USER, "test@example.org", PASSWORD)
            platform.start_web()
            assert platform.get("submissionfold-light/") == []

            postgres.kill()
            for path in ("submissionfold-light/", "runners/"):
                answer = requests.get(f"{platform.url}runapp/{path}", auth=(USER, PASSWORD), timeout=30)
                assert answer.status_code == 503
                assert answer.json() == {"detail": "The database does not answer: try again in a moment."}
                assert int(answer.headers["Retry-After"]) > 0
            assert requests.get(f"{platform.url}healthz", timeout=30).status_code == 200
            assert requests.get(f"{platform.url}readyz", timeout=30).status_code == 503

            postgres.start()
            assert platform.get("submissionfold-light/") == []
            assert requests.get(f"{platform.url}readyz", timeout=30).status_code == 200
        finally:
            platform.stop_all()
