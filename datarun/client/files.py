"""What is sent of a folder: a submission's files, or a data set as a csv, a folder with a ``datarun.toml``, a RAMP kit.

It reads names and definitions; it runs nothing of what it finds.
"""

import difflib
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import InputError

DEFINITION = "datarun.toml"
#: What makes a folder a RAMP kit.
PROBLEM = "problem.py"
_KEPT_BACK = frozenset({"__pycache__", "node_modules", DEFINITION})
_KEYS = frozenset(
    {
        *("name", "files", "target_column", "elements", "metrics", "cv", "held_out_test", "random_state"),
        *("time_limit", "soft_time_limit", "limits"),
    }
)
#: The same for every zip of the same files, so that its upload can go on another day.
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class DataSetFiles:
    """A data set to be posted: its files by name, and what its definition says of it."""

    kind: str
    name: str
    files: Mapping[str, Path]
    fields: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def packed(self) -> Iterator[Path]:
        """The file to upload: the csv itself, or a zip of all files."""
        if self.kind == "csv":
            (path,) = self.files.values()
            yield path
            return
        with zipped(self.files) as path:
            yield path


def data_set(source: Path) -> DataSetFiles:
    """The data set in a csv file, a folder with a ``datarun.toml``, or a RAMP kit's folder; raises `InputError`."""
    if source.is_file():
        return DataSetFiles("csv", source.stem, {source.name: source})
    if not source.is_dir():
        raise InputError(f"{source} does not exist.")
    fields = _definition(source / DEFINITION)
    name = str(fields.pop("name", source.resolve().name))
    listed = fields.pop("files", None)
    files = files_of(source) if listed is None else _listed(source, listed)
    if PROBLEM in files:
        return DataSetFiles("kit", name, files, fields)
    if not (source / DEFINITION).exists():
        raise InputError(
            f"{source} has neither {DEFINITION} nor {PROBLEM}: name the csv itself, or write a {DEFINITION}."
        )
    if len(files) == 1 and next(iter(files)).endswith(".csv"):
        return DataSetFiles("csv", name, files, fields)
    if not any(file.endswith(".py") for file in files):
        raise InputError(
            f"{source} has {len(files)} files, none of them a .py: several files need a custom module that reads them. "
            f"Or name one csv in {DEFINITION}: files = ['data.csv']."
        )
    return DataSetFiles("custom", name, files, fields)


def files_of(folder: Path) -> dict[str, Path]:
    """The files below a folder by their names, hidden and generated ones left out; raises `InputError`."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder.")
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if any(part.startswith(".") or part in _KEPT_BACK or part.endswith(".pyc") for part in name.parts):
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path} is a link that leads out of {folder}: put a copy there.")
        if path.is_file():
            found[name.as_posix()] = path
    if not found:
        raise InputError(f"{folder} has no files.")
    return found


def as_files(source: Path | str | Sequence[Path | str] | Mapping[str, bytes | str]) -> dict[str, bytes]:
    """The contents of a submission: of a folder, of some files, or as given by name."""
    if isinstance(source, Mapping):
        return {name: text.encode() if isinstance(text, str) else text for name, text in source.items()}
    if isinstance(source, Path | str):
        path = Path(source)
        paths = {path.name: path} if path.is_file() else files_of(path)
    else:
        paths = {Path(each).name: Path(each) for each in source}
        if len(paths) < len(source):
            raise InputError("Two of the files have the same name.")
    try:
        return {name: path.read_bytes() for name, path in paths.items()}
    except OSError as error:
        raise InputError(f"{error.filename} can't be read: {error.strerror}.") from error


@contextmanager
def zipped(files: Mapping[str, Path | bytes]) -> Iterator[Path]:
    """A temporary zip of the files, byte for byte the same for the same files."""
    with tempfile.TemporaryDirectory(prefix="datarun-") as folder:
        path = Path(folder) / "files.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in sorted(files.items()):
                entry = zipfile.ZipInfo(name, _LONG_AGO)
                entry.compress_type = zipfile.ZIP_DEFLATED
                _write(archive, entry, content)
        yield path


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, content: Path | bytes) -> None:
    if isinstance(content, bytes):
        archive.writestr(entry, content)
        return
    try:
        entry.file_size = content.stat().st_size  # decides whether the entry may be large
        with content.open("rb") as source, archive.open(entry, "w") as target:
            while piece := source.read(1 << 20):
                target.write(piece)
    except OSError as error:
        raise InputError(f"{content} can't be read: {error.strerror}.") from error


def _definition(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}.") from error
    except ValueError as error:  # of TOML, or of UTF-8
        raise InputError(f"{path} is no TOML: {error}.") from error
    if unknown := sorted(set(found) - _KEYS):
        near = difflib.get_close_matches(unknown[0], _KEYS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(_KEYS))}."
        raise InputError(f"{path}: {unknown[0]!r} is unknown: {hint}")
    return found


def _listed(folder: Path, names: Any) -> dict[str, Path]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{folder / DEFINITION}: files is a list of file names.")
    files = {name: folder / name for name in names}
    for name, path in files.items():
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{folder / DEFINITION}: {name} is not in the folder.")
        if not path.is_file():
            raise InputError(f"{folder / DEFINITION}: there is no file {name}.")
    return files
