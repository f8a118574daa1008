"""RAMP starting kits as data sets: posted whole, as a zip file, and prepared at once.

Nothing of it runs here.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from datarun.contract import transfer
from runapp.models import RawData

from . import archives, checks, contents, environments, raw_data, submitting
from .contents import Content, Contents
from .errors import BadInput

PROBLEM = "problem.py"
_SUBMISSIONS = "submissions"
_MOST_FILES = 10_000
#: What earlier runs leave in a kit.
_LEFT_OVERS = archives.LEFT_OVERS | {"training_output"}


@dataclass(frozen=True)
class Kit:
    """A kit's files by path, without its submissions; these by name, each with its files."""

    files: Contents
    submissions: Mapping[str, Contents]


@contextmanager
def opened(packed: Content) -> Iterator[Kit]:
    """The kit in a zip file, to be read while this is open; raises `BadInput`."""
    with archives.opened(packed, settings.MAX_FILE, field="zip", most=_MOST_FILES, folders=True) as files:
        yield sort(files)


@contextmanager
def opened_path(path: Path) -> Iterator[Kit]:
    """The same of a zip file or a folder of this machine."""
    if path.is_dir():
        files = (file for file in sorted(path.rglob("*")) if file.is_file() and not file.is_symlink())
        yield sort({file.relative_to(path).as_posix(): contents.of_path(file) for file in files})
    else:
        with opened(contents.of_path(path)) as kit:
            yield kit


def sort(found: Contents) -> Kit:
    """The kit among these files; raises `BadInput`."""
    if PROBLEM not in found:
        raise BadInput("zip", f"There is no {PROBLEM} in it: a RAMP starting kit has one in its folder.")
    files: dict[str, Content] = {}
    submissions: dict[str, dict[str, Content]] = {}
    for path, content in found.items():
        match path.split("/"):
            case parts if not _LEFT_OVERS.isdisjoint(parts):
                pass
            case [folder, name, file] if folder == _SUBMISSIONS:
                submissions.setdefault(name, {})[file] = content
            case [folder, *_] if folder == _SUBMISSIONS:
                pass  # deeper, or beside them: no file of a submission
            case _:
                files[path] = content
    try:
        checks.python_sources(files)
    except BadInput as error:
        raise BadInput("zip", error.message) from error
    return Kit(files, submissions)


def post(
    owner: User | None,
    name: str,
    packed: object,
    data_label: str = "",
    with_submissions: bool = False,
    environment: str = "",
) -> RawData:
    """Stores a kit, base64(zlib(zip file)), as a data set, has it prepared, and submits what came with it."""
    try:
        content = transfer.decompress(packed, settings.MAX_FILE)
    except transfer.TransferError as error:
        raise BadInput("zip", str(error)) from error
    with opened(contents.of_bytes(content)) as kit:
        return create(owner, name, kit, data_label, with_submissions, environment)


@transaction.atomic
def create(
    owner: User | None,
    name: str,
    kit: Kit,
    data_label: str = "",
    with_submissions: bool = False,
    environment: str = "",
) -> RawData:
    """The same of a kit that has been read."""
    if RawData.objects.filter(name=name).exists():
        raise BadInput("name", raw_data.NAME_TAKEN)
    try:
        with transaction.atomic():
            created = RawData.objects.create(
                name=name,
                files=contents.store(kit.files),
                module=PROBLEM,
                kit=True,
                data_label=data_label,
                environment=environments.checked(environment),
                owner=owner,
            )
    except IntegrityError as error:  # somebody else took the name meanwhile
        raise BadInput("name", raw_data.NAME_TAKEN) from error
    raw_data.custom_split(owner, created.pk)
    for submission, files in sorted(kit.submissions.items()) if with_submissions else ():
        code = {file: content.read() for file, content in files.items()}
        submitting.submit(owner, created, checks.checked(code), submission)
    return created
