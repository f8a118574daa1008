"""Zip files from people: input like any other. What is in them is bounded while it is read, and what they name stays
in one folder; nothing is ever written under a name from one.
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import PurePosixPath

from . import checks
from .contents import Content, Contents
from .errors import BadInput

#: So many files at most, where nobody says otherwise.
MOST_FILES = 1000
_LONGEST_PATH = 500  # characters
_ENCRYPTED = 1
#: What editors, version control and operating systems leave in folders.
LEFT_OVERS = frozenset({"__pycache__", "__MACOSX", ".git", ".ipynb_checkpoints", ".DS_Store", "Thumbs.db"})


@contextmanager
def opened(
    archive: Content, room: int, field: str = "files", most: int = MOST_FILES, folders: bool = False
) -> Iterator[Contents]:
    """Path → content of the plain files in a zip, of at most `room` bytes together; to be read while this is open.

    A single folder that all of them are in is left out of their paths; with others only if `folders` are possible.
    Raises `BadInput` of `field`, also while they are read.
    """
    try:
        with archive.open() as file, zipfile.ZipFile(file) as read:
            yield _contents(read, room, field, most, folders)
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, UnicodeDecodeError) as error:
        raise BadInput(field, f"No zip file that can be read: {error}") from error


def _contents(read: zipfile.ZipFile, room: int, field: str, most: int, folders: bool) -> Contents:
    members = [member for member in read.infolist() if not member.is_dir() and not _is_left_over(member)]
    if not members:
        raise BadInput(field, "There are no files in the zip.")
    if len(members) > most:
        raise BadInput(field, f"The zip has {len(members)} files: {most} are possible.")
    for member in members:
        _check(member, field)
    # No more than the table says is ever read of a file.
    if sum(member.file_size for member in members) > room:
        raise BadInput(field, f"The zip's files have more than {room} bytes.")
    found: dict[str, Content] = {}
    for path, member in zip(_without_common_folder(members), members, strict=True):
        if path in found:
            raise BadInput(field, f"{path} is in the zip twice.")
        if not folders:
            checks.file_name(path)
        found[path] = Content(member.file_size, partial(read.open, member))
    if inside := next((path for path in found if not found.keys().isdisjoint(_folders(path))), None):
        raise BadInput(field, f"{inside} is below a file, not below a folder.")
    return found


def _check(member: zipfile.ZipInfo, field: str) -> None:
    """That it is a plain file, packed in a bounded way, at a path that stays below a folder on any machine."""
    path, mode = member.filename, member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise BadInput(field, f"{path[:80]!r} is a link or a device: send plain files.")
    if path.startswith("/") or ":" in path.partition("/")[0] or len(path) > _LONGEST_PATH:
        raise BadInput(field, f"{path[:80]!r} is no path below the zip's folder.")
    for part in path.split("/"):
        try:
            checks.file_name(part)
        except BadInput as error:
            raise BadInput(field, f"{path[:80]!r}: {error.message}") from error
    if member.flag_bits & _ENCRYPTED:
        raise BadInput(field, f"{path} is encrypted.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others can't be bounded
        raise BadInput(field, f"{path} is neither stored nor deflated: zip it in the usual way.")


def _is_left_over(member: zipfile.ZipInfo) -> bool:
    return not LEFT_OVERS.isdisjoint(PurePosixPath(member.filename).parts)


def _without_common_folder(members: list[zipfile.ZipInfo]) -> list[str]:
    names = [member.filename for member in members]
    folders = {name.partition("/")[0] for name in names}
    if len(folders) == 1 and all("/" in name for name in names):
        return [name.partition("/")[2] for name in names]
    return names


def _folders(path: str) -> set[str]:
    return set(map(str, PurePosixPath(path).parents))
