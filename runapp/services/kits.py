"""RAMP starting kits as data sets: posted whole, as a zip file, and prepared at once.

A zip file is input like any other: it is bounded while it is read, and what it names stays below the kit's folder.
Nothing of it runs here.
"""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from datarun.contract import transfer
from runapp.models import RawData

from . import blobs, checks, raw_data, submitting
from .errors import BadInput

PROBLEM = "problem.py"
_SUBMISSIONS = "submissions"
_MOST_FILES = 10_000
_LONGEST_PATH = 500  # characters
_PIECE = 1 << 20
#: What editors, version control and earlier runs leave in a kit.
_LEFT_OVERS = frozenset(
    {"__pycache__", "__MACOSX", ".git", ".ipynb_checkpoints", ".DS_Store", "training_output"}
)


@dataclass(frozen=True)
class Kit:
    """A kit's files by path, without its submissions; these by name, each file name → bytes."""

    files: Mapping[str, bytes]
    submissions: Mapping[str, Mapping[str, bytes]]


def read(packed: bytes) -> Kit:
    """The kit in a zip file; raises `BadInput`."""
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            contents = dict(_contents(archive))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, struct.error) as error:
        raise BadInput("zip", f"No zip file that can be read: {error}") from error
    return sort(contents)


def read_folder(folder: Path) -> Kit:
    """The kit in a folder of this machine; raises `BadInput`."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    named = ((path.relative_to(folder), path) for path in paths)
    return sort(
        {name.as_posix(): path.read_bytes() for name, path in named if _LEFT_OVERS.isdisjoint(name.parts)}
    )


def sort(contents: Mapping[str, bytes]) -> Kit:
    """The kit among these files, in their folder or in a single one below it; raises `BadInput`."""
    folders = {path.partition("/")[0] for path in contents}
    if PROBLEM not in contents and len(folders) == 1:
        (folder,) = folders
        contents = {path.removeprefix(f"{folder}/"): content for path, content in contents.items()}
    if PROBLEM not in contents:
        raise BadInput("zip", f"There is no {PROBLEM} in it: a RAMP starting kit has one in its folder.")
    files: dict[str, bytes] = {}
    submissions: dict[str, dict[str, bytes]] = {}
    for path, content in contents.items():
        match path.split("/"):
            case [folder, name, file] if folder == _SUBMISSIONS:
                submissions.setdefault(name, {})[file] = content
            case [folder, *_] if folder == _SUBMISSIONS:
                pass  # deeper, or beside them: no file of a submission
            case _:
                files[path] = content
    for path, content in files.items():
        if path.endswith(".py"):
            try:
                checks.python_source(path, content)
            except BadInput as error:
                raise BadInput("zip", error.message) from error
    return Kit(files, submissions)


def post(
    owner: User | None, name: str, packed: object, data_label: str = "", with_submissions: bool = False
) -> RawData:
    """Stores a kit, base64(zlib(zip file)), as a data set, has it prepared, and submits what came with it."""
    try:
        content = transfer.decompress(packed, settings.MAX_FILE)
    except transfer.TransferError as error:
        raise BadInput("zip", str(error)) from error
    return create(owner, name, read(content), data_label, with_submissions)


@transaction.atomic
def create(
    owner: User | None, name: str, kit: Kit, data_label: str = "", with_submissions: bool = False
) -> RawData:
    """The same of a kit that has been read."""
    if RawData.objects.filter(name=name).exists():
        raise BadInput("name", raw_data.NAME_TAKEN)
    try:
        with transaction.atomic():
            created = RawData.objects.create(
                name=name,
                files=dict(zip(kit.files, blobs.put_all(kit.files.values()), strict=True)),
                module=PROBLEM,
                kit=True,
                data_label=data_label,
                owner=owner,
            )
    except IntegrityError as error:  # somebody else took the name meanwhile
        raise BadInput("name", raw_data.NAME_TAKEN) from error
    raw_data.custom_split(owner, created.pk)
    for submission, files in sorted(kit.submissions.items()) if with_submissions else ():
        submitting.submit(owner, created, checks.checked(dict(files)), submission)
    return created


def _contents(archive: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
    """Path → bytes of the regular files, at most `MAX_FILE` bytes of all."""
    members = [member for member in archive.infolist() if not member.is_dir() and not _is_left_over(member)]
    if len(members) > _MOST_FILES:
        raise BadInput("zip", f"It has {len(members)} files: {_MOST_FILES} are possible.")
    seen: set[str] = set()
    room = settings.MAX_FILE
    for member in members:
        path = _checked_path(member)
        if path in seen:
            raise BadInput("zip", f"{path} is in it twice.")
        seen.add(path)
        content = _content(archive, member, room)
        room -= len(content)
        yield path, content
    if inside := next((path for path in seen if not seen.isdisjoint(_folders(path))), None):
        raise BadInput("zip", f"{inside} is below a file, not below a folder.")


def _folders(path: str) -> set[str]:
    return set(map(str, PurePosixPath(path).parents))


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo, room: int) -> bytes:
    """What the header says of the size is not believed."""
    if member.flag_bits & 0x1:
        raise BadInput("zip", f"{member.filename} is encrypted.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others can't be bounded
        raise BadInput("zip", f"{member.filename} is neither stored nor deflated: zip it in the usual way.")
    pieces, size = [], 0
    with archive.open(member) as file:
        while piece := file.read(_PIECE):
            size += len(piece)
            if size > room:
                raise BadInput("zip", f"Its files have more than {settings.MAX_FILE} bytes.")
            pieces.append(piece)
    return b"".join(pieces)


def _is_left_over(member: zipfile.ZipInfo) -> bool:
    return not _LEFT_OVERS.isdisjoint(PurePosixPath(member.filename).parts)


def _checked_path(member: zipfile.ZipInfo) -> str:
    """A path below the kit's folder, on any machine."""
    path, mode = member.filename, member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise BadInput("zip", f"{path[:80]!r} is a link or a device: send plain files.")
    if path.startswith("/") or ":" in path.partition("/")[0] or len(path) > _LONGEST_PATH:
        raise BadInput("zip", f"{path[:80]!r} is no path below the kit's folder.")
    for part in path.split("/"):
        try:
            checks.file_name(part)
        except BadInput as error:
            raise BadInput("zip", f"{path[:80]!r}: {error.message}") from error
    return path
