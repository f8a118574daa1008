"""Blobs on the runner's side: fetched from the master by hash, verified, and kept in a cache."""

import hashlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from io import BufferedReader
from pathlib import Path
from typing import Any

import requests

logger = logging.getLogger(__name__)

_CHUNK = 1024 * 1024
_FREE = 0.1  # of the disk: what the cache leaves to others
_KEPT = 64 * 1024 * 1024  # bytes in memory
_IN_USE = 60.0  # seconds in which a job has certainly made use of what it asked for
_PATIENCE = 15 * 60.0  # seconds that the master may be away: results are not given up for its restart
_AWAY = frozenset({500, 502, 503, 504, 507})  # also a full disk, which somebody will mend
_TIMEOUT = (5, 60)  # seconds to connect, and between two bytes


class BlobError(Exception):
    """A blob could not be fetched or stored; says why. Not the fault of any submission."""


class BlobStore:
    """A content-addressed cache in `folder` in front of the master's blobs; safe for threads."""

    def __init__(
        self, master_url: str, token: str, folder: Path, stopping: threading.Event | None = None
    ) -> None:
        """`stopping` ends the patience with a master that is away."""
        self._stopping = stopping or threading.Event()
        self._url = master_url
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # What came along with orders, by sha256, what came last at the end.
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._kept_bytes, self._lock = 0, threading.Lock()
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"

    @property
    def stopping(self) -> bool:
        """Whether the runner is to stop: no transfer is tried again."""
        return self._stopping.is_set()

    def path(self, sha256: str) -> Path:
        """The read-only file that holds the blob, fetched if it is not here yet; raises `BlobError`."""
        path = self._folder / sha256[:2] / sha256
        try:
            os.utime(path)  # used last, so evicted last
        except FileNotFoundError:
            self._make_room()
            path.parent.mkdir(exist_ok=True)
            self._fetch(sha256, path)
        return path

    def keep(self, sha256: str, content: bytes) -> None:
        """Has what came along with an order at hand; raises `BlobError` if it isn't what it says.

        In memory, the `_KEPT` bytes that came last: most of it serves one fold, and a file costs more than that.
        """
        if hashlib.sha256(content).hexdigest() != sha256:
            raise BlobError(f"Blob {sha256} arrived damaged.")
        with self._lock:
            self._kept_bytes += 0 if sha256 in self._kept else len(content)
            self._kept[sha256] = content
            self._kept.move_to_end(sha256)
            while self._kept_bytes > _KEPT:
                self._kept_bytes -= len(self._kept.popitem(last=False)[1])

    def _make_room(self) -> None:
        """Removes the blobs that were not used for longest while the disk is nearly full; jobs that run keep theirs."""
        disk = shutil.disk_usage(self._folder)
        missing = _FREE * disk.total - disk.free
        if missing <= 0:
            return
        blobs = sorted((path for path in self._folder.glob("??/*")), key=lambda path: path.stat().st_mtime)
        for path in blobs:
            if missing <= 0 or time.time() - path.stat().st_mtime < _IN_USE:
                break
            missing -= path.stat().st_size
            path.unlink()
            logger.info("removed blob %s from the cache: the disk is nearly full", path.name)

    def read(self, sha256: str) -> bytes:
        """The blob's content; raises `BlobError`."""
        with self._lock:
            content = self._kept.get(sha256)
        return self.path(sha256).read_bytes() if content is None else content

    def copy(self, sha256: str, path: Path) -> None:
        """Makes a file with the blob's content; raises `BlobError`."""
        with self._lock:
            content = self._kept.get(sha256)
        if content is None:
            shutil.copyfile(self.path(sha256), path)
        else:
            path.write_bytes(content)

    def put(self, content: bytes) -> str:
        """Stores `content` at the master; returns its sha256."""
        sha256 = hashlib.sha256(content).hexdigest()
        self._request("PUT", sha256, data=content)
        return sha256

    def put_file(self, path: Path) -> str:
        """Stores the content of a file at the master, without reading it into memory; returns its sha256."""
        sha256 = self.hash_file(path)
        with path.open("rb") as file:
            self._request("PUT", sha256, data=file)
        return sha256

    @staticmethod
    def hash_file(path: Path) -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _fetch(self, sha256: str, path: Path) -> None:
        response = self._request("GET", sha256, stream=True)
        digest = hashlib.sha256()
        handle, name = tempfile.mkstemp(dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in response.iter_content(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != sha256:
                raise BlobError(f"Blob {sha256} arrived damaged.")
            temporary.chmod(0o444)
            temporary.rename(path)
        except (OSError, requests.RequestException) as error:
            raise BlobError(f"Blob {sha256} could not be fetched: {error}") from error
        finally:
            temporary.unlink(missing_ok=True)

    def _request(self, method: str, sha256: str, **kwargs: Any) -> requests.Response:
        """The master's answer, however long it is away, up to `_PATIENCE`."""
        until, pause = time.monotonic() + _PATIENCE, 0.25
        while True:
            response, problem = self._try(method, sha256, **kwargs)
            if response is not None and response.status_code not in _AWAY:
                break
            if time.monotonic() + pause > until or self.stopping:
                raise BlobError(
                    f"The master at {self._url} did not answer for {_PATIENCE / 60:g} minutes: {problem}."
                )
            logger.warning("the master at %s: %s; trying again", self._url, problem)
            self._stopping.wait(pause)
            pause = min(2 * pause, 15.0)
        if response.status_code in (401, 403):
            raise BlobError("The master refuses this runner's token: make one with manage.py createrunner.")
        if not response.ok:
            raise BlobError(f"{method} of blob {sha256}: {response.status_code} {response.text[:200]}")
        return response

    def _try(self, method: str, sha256: str, **kwargs: Any) -> tuple[requests.Response | None, str]:
        """The answer, or None, and what is wrong."""
        if isinstance(data := kwargs.get("data"), BufferedReader):
            data.seek(0)  # it may have been sent before, in part
        try:
            response = self._session.request(
                method, f"{self._url}/blobs/{sha256}", timeout=_TIMEOUT, **kwargs
            )
        except requests.RequestException as error:
            return None, f"it can't be reached ({type(error).__name__})"
        return response, f"it answers {response.status_code}"
