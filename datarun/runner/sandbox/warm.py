"""The supervisor's side of zygotes: starts them, has them load and fork, ends them when they are no longer wanted.

One zygote a data set. Nothing here reads what a child or a module wrote but the zygote's own answers.
"""

import contextlib
import importlib.util
import json
import logging
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import psutil
from numpy.typing import NDArray

from . import users
from .forked import Forked
from .task import JobFolder

logger = logging.getLogger(__name__)

_LOOK = 0.1  # seconds between two looks at whether to go on waiting
_START = 60.0  # seconds that a zygote has to start, and to answer, however busy the machine is
_KEEP = 15 * 60.0  # seconds that a zygote is kept without work
_SWEEP = 10.0  # seconds between two looks at which to keep
_MOST = 16  # zygotes of one runner
#: They go, the longest unused first, while less than this share of the machine's memory is available.
_AVAILABLE = 0.15
_DEEP = 32  # levels of folders
_PACKAGE = Path(__file__).resolve().parents[2]


class ZygoteError(Exception):
    """A zygote could not do what it was told; says why. Not the fault of any submission."""


class ModuleFailed(Exception):
    """What the organiser's module or data raised while the zygote took them over: a traceback."""


class Zygote:
    """A running zygote in `folder`, which is removed with it.

    data/  the data set's files, put there by whoever makes the zygote
    jobs/  a folder for each job that runs
    lib/   where it finds this package and what locks it down, and nothing else of the folders that these are in

    `python` runs it, which need not be the one that runs this.
    """

    def __init__(
        self,
        folder: Path,
        modules: Sequence[str] = (),
        user: int | None = None,
        python: Path = Path(sys.executable),
    ) -> None:
        """`user` is who it and its children are to be, if somebody else than the runner."""
        self.folder, self._user = folder, user
        self.used = time.monotonic()
        # What the loader gave of the labels, as it encoded them; for csv data, those of the train part decoded.
        self.labels: dict[str, bytes] = {}
        self.y_train: NDArray[Any] | None = None
        self.jobs = 0
        self.spares: deque[Forked] = deque()
        self._asking = threading.Lock()
        self._imported: set[str] = set()
        for name in ("data", "jobs", "lib"):
            (folder / name).mkdir(mode=0o755)
        (folder / "lib" / _PACKAGE.name).symlink_to(_PACKAGE)
        if (locks := importlib.util.find_spec("pyseccomp")) is not None and locks.origin is not None:
            shutil.copy(locks.origin, folder / "lib")
        if user is not None:
            os.chown(folder, 0, user)
            folder.chmod(0o710)
        self.give(folder / "lib", folder / "jobs")
        self._control, theirs = socket.socketpair()
        with theirs:
            command = (
                str(python),
                "-P",
                "-m",
                "datarun.runner.sandbox",
                str(theirs.fileno()),
                str(folder),
            )
            with (folder / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    [*command, *modules],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(theirs.fileno(),),
                    env=_environment(folder),
                    cwd=folder,
                    start_new_session=True,
                )
        self.pid = self._process.pid
        self._ready = False

    def give(self, *folders: Path) -> None:
        """Its children may use these folders, and what is in them, as their own, as far as they are let."""
        if self._user is not None:
            for folder in folders:
                users.give(self._user, (folder, *folder.rglob("*")))

    def wait_until_ready(self, go_on: Callable[[], bool]) -> None:
        """Returns when it takes commands; raises `ZygoteError`, also when `go_on` says no."""
        with self._asking:
            if not self._ready:
                self._hear(time.monotonic() + _START, go_on)
                self._ready = True

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def load(self, go_on: Callable[[], bool], patience: float, **command: Any) -> None:
        """Has it take over what a loader prepared, in `patience` seconds; raises `ModuleFailed` or `ZygoteError`."""
        self._ask({"do": "load", **command}, patience=patience, go_on=go_on)

    def import_modules(self, modules: set[str]) -> None:
        """Has it import what a submission is about to import, once."""
        if new := modules - self._imported:
            self._imported |= new
            self._ask({"do": "import", "modules": sorted(new)})

    @property
    def imported(self) -> int:
        """How many modules it has imported for its children."""
        return len(self._imported)

    def fork(self, job: JobFolder, descriptors: Sequence[int]) -> int:
        """Forks a child that works in `job`; returns its process id."""
        self.used = time.monotonic()
        return int(self._ask({"do": "fork", "job": str(job.root)}, descriptors)["pid"])

    def spare(self) -> Forked | None:
        """A child that was forked ahead and is as good as a new one, if there is any; others are dismissed."""
        while self.spares:
            with contextlib.suppress(IndexError):  # another thread was faster
                if (child := self.spares.popleft()).is_good:
                    return child
                child.dismiss()
        return None

    def _ask(
        self,
        command: dict[str, Any],
        descriptors: Sequence[int] = (),
        patience: float | None = None,
        go_on: Callable[[], bool] = lambda: True,
    ) -> dict[str, Any]:
        with self._asking:
            try:
                socket.send_fds(self._control, [json.dumps(command).encode() + b"\n"], descriptors)
            except OSError as error:
                raise ZygoteError(self._last_words()) from error
            answer = self._hear(time.monotonic() + (patience or _START), go_on)
        if "error" in answer:
            raise ModuleFailed(answer["error"])
        return answer

    def _hear(self, until: float, go_on: Callable[[], bool]) -> dict[str, Any]:
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._control], [], [], _LOOK)
            if ready:
                chunk = self._control.recv(1 << 16)
                if not chunk:
                    raise ZygoteError(self._last_words())
                line += chunk
            elif not go_on() or time.monotonic() > until:
                self.end()  # whatever it is doing, nobody waits for the answer any more
                raise ZygoteError("The process that holds the data did not answer in time.")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def _last_words(self) -> str:
        text = ""
        with contextlib.suppress(OSError):
            text = (self.folder / "log").read_text(errors="replace")[-2000:].strip()
        return f"The process that holds the data has ended{': ' if text else '.'}{text}"

    def end(self) -> None:
        """Ends it and all its children; idempotent."""
        self._control.close()
        try:
            self._process.wait(timeout=_LOOK * 20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        while self.spares:
            with contextlib.suppress(IndexError):
                self.spares.popleft().leave()
        remove(self.folder)


class Zygotes:
    """The zygotes of one runner, by data set; safe for threads. `folder` is theirs alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if os.geteuid() == 0:
            folder.chmod(0o711)  # users that are given a folder in it get to it, and see no other
        self._own_users = not users.problem(folder)
        self._lock = threading.Lock()
        self._loading: dict[str, threading.Lock] = {}
        self._loaded: dict[str, Zygote] = {}
        self._ending = threading.Event()
        threading.Thread(target=self._sweep, name="zygotes", daemon=True).start()

    def new(self, modules: Sequence[str] = (), python: Path = Path(sys.executable)) -> Zygote:
        user = users.pick() if self._own_users else None
        return Zygote(Path(tempfile.mkdtemp(dir=self._folder)).resolve(), modules, user, python)

    @contextmanager
    def loaded(self, key: str, load: Callable[[], Zygote], go_on: Callable[[], bool]) -> Iterator[Zygote]:
        """The zygote of the data set `key`, in use until the context ends; `load` makes it if there is none.

        Who needs one that is being made waits, as long as `go_on` says so; then raises `ZygoteError`.
        """
        zygote = self._take(key, load, go_on)
        try:
            yield zygote
        finally:
            with self._lock:
                zygote.jobs -= 1
                zygote.used = time.monotonic()

    def _take(self, key: str, load: Callable[[], Zygote], go_on: Callable[[], bool]) -> Zygote:
        with self._lock:
            loading = self._loading.setdefault(key, threading.Lock())
        while not loading.acquire(timeout=_LOOK):
            if not go_on():
                raise ZygoteError("Nobody waits for the data any more.")
        try:
            if (zygote := self._use(key)) is None:
                made = load()
                with self._lock:
                    self._loaded[key] = made
                zygote = self._use(key)
                assert zygote is not None
            return zygote
        finally:
            loading.release()

    def _use(self, key: str) -> Zygote | None:
        with self._lock:
            zygote = self._loaded.get(key)
            if zygote is not None and not zygote.alive:
                del self._loaded[key]
                zygote.end()
                zygote = None
            if zygote is not None:
                zygote.jobs += 1
            return zygote

    def drop(self, zygote: Zygote) -> None:
        """No further job gets it: it has failed."""
        with self._lock:
            self._loaded = {key: other for key, other in self._loaded.items() if other is not zygote}
        zygote.end()

    def _sweep(self) -> None:
        while not self._ending.wait(_SWEEP):
            with self._lock:
                idle = sorted((z for z in self._loaded.values() if z.jobs == 0), key=lambda z: z.used)
                old = [z for z in idle if time.monotonic() - z.used > _KEEP]
                if not old and idle and (len(self._loaded) > _MOST or _memory_is_scarce()):
                    old = idle[:1]
                self._loaded = {key: z for key, z in self._loaded.items() if z not in old}
            for zygote in old:
                logger.info("ended an idle process that held a data set")
                zygote.end()

    def close(self) -> None:
        self._ending.set()
        with self._lock:
            zygotes, self._loaded = list(self._loaded.values()), {}
        for zygote in zygotes:
            zygote.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _memory_is_scarce() -> bool:
    memory = psutil.virtual_memory()
    return bool(memory.available < _AVAILABLE * memory.total)


def remove(folder: Path) -> None:
    """Removes a folder, whatever a job has made in it."""
    if not _is_deep(folder):  # it would hold a descriptor for each level
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():  # deep, or unwritable
        subprocess.run(["/bin/chmod", "-R", "u+rwX", "--", folder], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["/bin/rm", "-rf", "--", folder], check=False)


def _is_deep(folder: Path) -> bool:
    waiting = [(os.fspath(folder), 0)]
    while waiting:
        path, depth = waiting.pop()
        if depth > _DEEP:
            return True
        with contextlib.suppress(OSError), os.scandir(path) as entries:
            waiting += [(entry.path, depth + 1) for entry in entries if entry.is_dir(follow_symlinks=False)]
    return False


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of the runner's own environment: no credentials, and the same for every job.

    One native thread: a child may start more, but none may be running when it is forked. What malloc gives is in huge
    pages, which cost a fork less; Python's own allocator stays, without which long folds take a tenth longer.
    """
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder / "jobs"),
        "TMPDIR": str(folder / "jobs"),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(folder / "lib"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "LOKY_MAX_CPU_COUNT": "1",
    }
