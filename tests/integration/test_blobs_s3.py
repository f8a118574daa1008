"""Large blobs in an object storage: a real S3 server process keeps them, and runners fetch them from it."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from django.test import Client

from datarun.runner.blobs import BlobStore
from runapp.models import Blob
from runapp.services import blobs, runners
from tests.acceptance.platform import wait_until
from tests.services.server import free_port

BUCKET, LARGE, SMALL = "datarun-blobs", os.urandom(200_000), b"small"
KEYS = {"access_key": "who", "secret_key": "secret"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", port]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        try:
            return requests.get(url, timeout=1).ok
        except requests.ConnectionError:
            return False

    try:
        wait_until(answers, 60, "the S3 server")
        yield url
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def bucket(endpoint: str, settings: Any) -> Any:
    made = boto3.resource(
        "s3", endpoint_url=endpoint, region_name="us-east-1",
        aws_access_key_id="who", aws_secret_access_key="secret",
    ).Bucket(BUCKET)  # fmt: skip
    made.create()
    options = {"bucket_name": BUCKET, "location": "blobs", "endpoint_url": endpoint, "region_name": "us-east-1",
               "signature_version": "s3v4", "querystring_expire": 3600, "default_acl": None, **KEYS}  # fmt: skip
    settings.STORAGES = settings.STORAGES | {
        "default": {"BACKEND": "runapp.bucket.BlobBucket", "OPTIONS": options}
    }
    yield made
    made.objects.all().delete()
    made.delete()


def keys(bucket: Any) -> list[str]:
    return [entry.key for entry in bucket.objects.all()]


@pytest.mark.django_db
def test_a_large_blob_is_in_the_bucket_once_and_comes_back(bucket: Any) -> None:
    sha256 = blobs.put(LARGE)
    assert blobs.put(LARGE) == sha256
    assert keys(bucket) == [f"blobs/{sha256[:2]}/{sha256}"]
    assert blobs.get(sha256) == LARGE


@pytest.mark.django_db
def test_a_runner_is_sent_to_the_bucket(bucket: Any, endpoint: str) -> None:
    token = runners.new_token("one")
    answer = Client().get(f"/blobs/{blobs.put(LARGE)}", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 302
    address = answer["Location"]
    assert address.startswith(endpoint)
    assert "X-Amz-Signature=" in address
    assert "X-Amz-Expires=3600" in address
    assert requests.get(address, timeout=10).content == LARGE


@pytest.mark.django_db
def test_nobody_is_sent_there_without_a_token(bucket: Any) -> None:
    assert Client().get(f"/blobs/{blobs.put(LARGE)}").status_code == 401


@pytest.mark.django_db
def test_small_blobs_stay_in_the_database(bucket: Any) -> None:
    sha256, token = blobs.put(SMALL), runners.new_token("one")
    assert keys(bucket) == []
    answer = Client().get(f"/blobs/{sha256}", headers={"Authorization": f"Bearer {token}"})
    assert b"".join(answer.streaming_content) == SMALL  # type: ignore[attr-defined]


@pytest.mark.django_db(transaction=True)
def test_a_runner_stores_and_fetches_as_ever(bucket: Any, live_server: Any, tmp_path: Path) -> None:
    store = BlobStore(live_server.url, runners.new_token("one"), tmp_path, threading.Event())
    sha256 = store.put(LARGE)
    assert Blob.objects.get(pk=sha256).content is None
    assert keys(bucket) == [f"blobs/{sha256[:2]}/{sha256}"]
    assert store.read(sha256) == LARGE
