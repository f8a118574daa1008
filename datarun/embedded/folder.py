"""Where the embedded platform keeps its state: one folder, owned by one user, used by one platform at a time.

Knows where that folder lies, who may enter it, and how to claim it. It may not know what is kept in it
(database, messages, blobs, secrets): the modules that keep these take the folder as an argument.
"""

import fcntl
import hashlib
import json
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

FORMAT = 1  # of the folder's layout; raise it when an older datarun could no longer use the folder

VARIABLE = "DATARUN_HOME"
ROOT_STATE = Path("/var/lib/datarun")
MARKER = "datarun.json"
LOCK = "lock"
_NEW_MARKER = f"{MARKER}.new"


class FolderError(Exception):
    """The folder can't be used; the message is one sentence that names it and the fix."""


def choose(checkout: Path, environ: Mapping[str, str]) -> Path:
    """The folder for the platform of this checkout, absolute; nothing is created.

    `DATARUN_HOME` if set, otherwise `<checkout>/var`. The database server that root starts runs as a system
    user of its own, who has to reach the folder: for root it never lies in a home folder or behind a closed
    one, whose permissions are not datarun's to change, but then in `/var/lib/datarun`.

    Raises FolderError if root set `DATARUN_HOME` to such a place.
    """
    wanted = environ.get(VARIABLE)
    checkout = checkout.resolve()
    folder = Path(wanted).expanduser().resolve() if wanted else checkout / "var"
    if os.geteuid() != 0 or not _is_out_of_reach(folder):
        return folder
    if wanted:
        raise FolderError(
            f"{VARIABLE}={folder} lies in a home folder or behind one that other users can't enter, where the"
            " database server that root starts can't go: choose another, or run datarun as a normal user."
        )
    digest = hashlib.sha256(os.fsencode(checkout)).hexdigest()[:8]
    return ROOT_STATE / f"{checkout.name}-{digest}"


@contextmanager
def prepare(folder: Path) -> Iterator[Path]:
    """Create the folder if missing and claim it for this process; yields it, and releases it at the end.

    A normal user's folder has mode 0700. Root's has 0711, so that the database server's system user can pass
    through to its own sub-folder; what else lies in it has to be private by itself (see `private`).

    Raises FolderError if the folder can't be written, isn't datarun's, or is in use.
    """
    with ExitStack() as held:
        try:
            _create(folder)
            _check_owner(folder)
            _check_marker(folder)  # before anything is changed: a foreign folder stays as it is
            folder.chmod(_mode())
            held.callback(os.close, _lock(folder))
            _write_marker(folder)
        except OSError as error:
            raise FolderError(
                f"datarun can't keep its state in {folder} ({error.strerror}):"
                f" choose a folder you can write to with {VARIABLE}."
            ) from error
        yield folder


def private(folder: Path, name: str) -> Path:
    """The sub-folder of this name, created if missing, that only the user who runs the platform can enter."""
    path = folder / name
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    return path


def _mode() -> int:
    return 0o711 if os.geteuid() == 0 else 0o700


def _is_out_of_reach(folder: Path) -> bool:
    if any(folder.is_relative_to(home) for home in _homes()):
        return True
    parents = [parent for parent in folder.parents if parent.exists()]
    return any(not parent.stat().st_mode & stat.S_IXOTH for parent in parents)


def _homes() -> set[Path]:
    """The home folders of everybody who can log in, and where such folders usually lie."""
    usual = [Path("/root"), Path("/home"), Path("/Users"), Path("/var/root")]
    people = [user for user in pwd.getpwall() if not user.pw_shell.endswith(("/nologin", "/false"))]
    login = [Path(user.pw_dir) for user in people]
    return {home.resolve() for home in usual + login if home.is_absolute()} - {Path("/")}


def _create(folder: Path) -> None:
    """Make the folder and its missing parents, whatever the umask: each one made here is datarun's own."""
    if folder.exists():
        if not folder.is_dir():
            raise FolderError(f"{folder} is not a folder: choose another with {VARIABLE}, or remove it.")
        return
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(_mode())


def _check_owner(folder: Path) -> None:
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        raise FolderError(
            f"{folder} belongs to another user ({_user_name(owner)}): run datarun as that user,"
            f" or choose another folder with {VARIABLE}."
        )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _check_marker(folder: Path) -> None:
    fix = f"choose another with {VARIABLE}, or remove it."
    try:
        found = json.loads((folder / MARKER).read_bytes())
    except FileNotFoundError:
        # A start that was cut short may have left no more than these two.
        if {path.name for path in folder.iterdir()} <= {LOCK, _NEW_MARKER}:
            return
        raise FolderError(f"{folder} is not empty and not a folder of datarun: {fix}") from None
    except ValueError:
        raise FolderError(f"{folder} is not a folder of datarun ({MARKER} can't be read): {fix}") from None
    version = found.get("format") if isinstance(found, dict) else None
    if version != FORMAT:
        raise FolderError(f"{folder} has format {version}, this datarun needs format {FORMAT}: {fix}")


def _write_marker(folder: Path) -> None:
    if (folder / MARKER).exists():
        return
    new = folder / _NEW_MARKER
    new.write_text(json.dumps({"format": FORMAT}))
    new.chmod(0o600)
    new.replace(folder / MARKER)


def _lock(folder: Path) -> int:
    """The descriptor that holds the lock: the kernel frees it with the process, however that ends."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 20).decode().strip()
        os.close(lock)
        raise FolderError(
            f"datarun already runs in {folder}{f' (process {holder})' if holder else ''}:"
            f" stop it first, or choose another folder with {VARIABLE}."
        ) from None
    except OSError:
        os.close(lock)
        raise
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock
