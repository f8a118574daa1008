"""Runs pytest where every user can read Python and this checkout, which root often has in its home, out of reach.

``python -m tests.sandbox.elsewhere USER ARGUMENT...``, as root. USER 0 stays root: its folds then are users of their
own. Any other number is an ordinary user without privileges. Only this process and its descent see what it mounts.
"""

import ctypes
import os
import stat
import sys
import tempfile
from pathlib import Path

from datarun.runner.sandbox import system

_NEW_MOUNTS = 0x20000
_MS_BIND, _MS_REC = 1 << 12, 1 << 14


def _mount(source: Path | str, target: Path, kind: str | None = None, options: str | None = None) -> None:
    flags = 0 if kind else _MS_BIND | _MS_REC
    texts = [text if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    system.call("mount", *texts[:3], ctypes.c_ulong(flags), texts[3])


def _closed(path: Path) -> Path | None:
    return next((p for p in reversed(path.parents) if not p.stat().st_mode & stat.S_IXOTH), None)


def open_to_all(paths: list[Path]) -> None:
    """Shows what can't be reached at its place, in a folder that holds nothing else."""
    system.call("unshare", _NEW_MOUNTS)
    system.mounts_stay_here()
    kept = {}
    for path in paths:
        if (top := _closed(path)) is not None:
            kept[path] = Path(tempfile.mkdtemp())
            _mount(path, kept[path])
    for top in {top for path in kept if (top := _closed(path))}:
        _mount("none", top, "tmpfs", "mode=755")
    for path, source in kept.items():
        path.mkdir(parents=True)
        _mount(source, path)


def main() -> None:
    user, arguments = int(sys.argv[1]), sys.argv[2:]
    checkout = Path(__file__).resolve().parents[2]
    open_to_all(sorted({Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), checkout}))
    os.chdir(checkout)
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o711)
    if user:
        os.chown(folder, user, user)
        system.drop_capabilities(user)
    os.environ |= {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    os.execv(sys.executable, [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments])


if __name__ == "__main__":
    main()
