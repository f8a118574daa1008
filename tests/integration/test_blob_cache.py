"""A runner's cache of blobs: kept between jobs, and given up when the disk is nearly full."""

import hashlib
import os
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest

from datarun.runner import blobs as runner_blobs
from datarun.runner.blobs import BlobError, BlobStore
from tests.bench import Blobs

HOUR = 3600
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that are free of 1,000."""
    free = [500]
    monkeypatch.setattr(runner_blobs.shutil, "disk_usage", lambda path: Usage(1000, 1000 - free[0], free[0]))
    return free


def test_what_was_used_longest_ago_goes_first(tmp_path: Path, disk: list[int]) -> None:
    with Blobs() as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.05,))
        thread.start()
        try:
            store = BlobStore(served.url, "token", tmp_path)
            names = [served.add(bytes([number]) * 40) for number in range(4)]
            paths = [store.path(name) for name in names]
            for age, path in enumerate(reversed(paths)):
                os.utime(path, (time.time() - (age + 1) * HOUR,) * 2)
            store.path(names[0])  # used now, though it was fetched first
            disk[0] = 60  # 40 short of a tenth
            store.path(served.add(b"new"))
        finally:
            served.shutdown()
            thread.join()
    assert [path.exists() for path in paths] == [True, False, True, True]


def test_what_came_along_is_not_fetched(tmp_path: Path) -> None:
    content = b"indices"
    name = hashlib.sha256(content).hexdigest()
    store = BlobStore("http://127.0.0.1:1", "token", tmp_path)  # where nobody answers
    store.keep(name, content)
    assert store.read(name) == content


def test_what_came_along_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BlobError, match="damaged"):
        BlobStore("http://127.0.0.1:1", "token", tmp_path).keep("0" * 64, b"other")
    assert not list(tmp_path.rglob("0*"))


def test_nothing_goes_while_there_is_room(tmp_path: Path, disk: list[int]) -> None:
    old = tmp_path / "ab" / "abcd"
    old.parent.mkdir()
    old.write_bytes(b"x")
    os.utime(old, (0, 0))
    BlobStore("http://127.0.0.1:1", "token", tmp_path)._make_room()
    assert old.exists()
