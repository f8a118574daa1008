"""Checks of what people post, before anything is stored. They read bytes; they run nothing.

Each raises `BadInput` with the field and the fix.
"""

import ast
import csv
import io
from collections.abc import Mapping

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from datarun.contract import transfer
from datarun.contract.elements import elements_problem, parse_elements

from .contents import Content, Contents
from .errors import BadInput

_MAX_NAME = 255
_MAX_SOURCE = 1024 * 1024
_HEADER_BYTES = 1024 * 1024


def file_name(name: str) -> None:
    """A name that is safe as a file's, in one folder, on any machine."""
    if not name or name in {".", ".."} or "/" in name or "\\" in name:
        raise BadInput("files", f"{name!r} is no plain file name: leave out folders.")
    if not name.isprintable():
        raise BadInput("files", f"{name!r} has characters that can't be in a file name.")
    try:
        too_long = len(name.encode()) >= _MAX_NAME
    except UnicodeEncodeError as error:
        raise BadInput("files", f"{name!r} is no valid text.") from error
    if too_long:
        raise BadInput("files", f"{name[:40]!r}… is too long a file name: keep it under {_MAX_NAME} bytes.")


def files(packed: object) -> dict[str, bytes]:
    """File name → bytes, which have been checked, from file name → base64(zlib(bytes))."""
    return checked(unpacked(packed))


def unpacked(packed: object) -> dict[str, bytes]:
    """The same, of which nothing but the names has been checked."""
    if not isinstance(packed, Mapping) or not packed:
        raise BadInput("files", "Send an object of file name → base64(zlib(bytes)), with at least one file.")
    for name in packed:
        file_name(name)
    room = settings.MAX_FILE
    contents = {}
    for name, text in packed.items():
        try:
            contents[name] = transfer.decompress(text, room)
        except transfer.TransferError as error:
            raise BadInput("files", f"{name}: {error}") from error
        room -= len(contents[name])
    return contents


def checked(contents: dict[str, bytes]) -> dict[str, bytes]:
    """The same files, each with a plain name, and each Python module one that parses."""
    for name, content in contents.items():
        file_name(name)
        if name.endswith(".py"):
            python_source(name, content)
    return contents


def python_sources(files: Contents) -> None:
    """Each Python module among the files is one that parses."""
    for name, content in files.items():
        if name.endswith(".py"):
            python_source(name, content.head(_MAX_SOURCE + 1))


def python_source(name: str, content: bytes) -> None:
    """A Python module that parses; otherwise the message has file, line and text."""
    if len(content) > _MAX_SOURCE:
        raise BadInput("files", f"{name}: more than {_MAX_SOURCE} bytes is too long for a Python module.")
    try:
        ast.parse(content, filename=name)
    except SyntaxError as error:
        place = f"{name}, line {error.lineno}" if error.lineno else name  # an unknown encoding has no line
        text = (error.text or "").strip()
        raise BadInput("files", f"{place}: {error.msg}" + (f": {text}" if text else "")) from error
    except ValueError as error:
        raise BadInput("files", f"{name}: not a Python module: {error}") from error
    except (RecursionError, MemoryError) as error:  # the parser's own limits
        raise BadInput(
            "files", f"{name}: not a Python module that can be read: nested too deeply."
        ) from error


def csv_file(name: str, content: Content, target_column: str) -> tuple[int, list[str]]:
    """A csv whose header has the target column; returns how many rows it can have at most, and its header.

    Only pandas knows how many rows there are; no csv has more rows than lines below its header.
    """
    head = content.head(_HEADER_BYTES)
    if b"\0" in head:
        raise BadInput("files", f"{name}: a csv is text, this is binary data.")
    try:
        text = head.decode("utf-8-sig", errors="ignore")
        header = next(csv.reader(io.StringIO(text, newline=""), strict=True), [])
    except csv.Error as error:
        raise BadInput("files", f"{name}: the header doesn't parse as csv: {error}") from error
    columns = [column.strip() for column in header]
    if not any(columns):
        raise BadInput("files", f"{name}: the first line must name the columns.")
    if not target_column or target_column not in header:
        shown = ", ".join(column[:40] for column in columns[:20]) + (", …" if len(columns) > 20 else "")
        raise BadInput("target_column", f"{name} has no column {target_column!r}; it has {shown}.")
    if header.count(target_column) > 1:
        raise BadInput(
            "target_column", f"{name} has {header.count(target_column)} columns named {target_column!r}."
        )
    if (lines := _lines(content)) < 2:
        raise BadInput("files", f"{name}: there are no rows below the header.")
    return lines - 1, header


def _lines(content: Content) -> int:
    """Ended by any of the three line ends, the last one perhaps by none."""
    ends, last = 0, b""
    for piece in content.pieces():
        ends += piece.count(b"\n") + piece.count(b"\r") - piece.count(b"\r\n")
        ends -= last == b"\r" and piece.startswith(b"\n")
        last = piece[-1:]
    return ends + (last not in (b"\n", b"\r"))


def workflow_elements(text: str, custom: bool) -> tuple[str, ...]:
    elements = parse_elements(text)
    if problem := elements_problem(elements, custom):
        raise BadInput("workflow_elements", problem)
    return elements


def element_files(elements: tuple[str, ...], contents: Mapping[str, bytes]) -> None:
    """A submission brings a file for each workflow element; more files are accepted and left unused."""
    missing = [f"{element}.py" for element in elements if f"{element}.py" not in contents]
    if missing:
        raise BadInput("files", f"Missing: {', '.join(missing)}: one for each workflow element.")


def fold_indices(train_is: object, test_is: object) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The training and test rows of a fold.

    Training rows may repeat (bootstrap); test rows may not; no row is both.
    """
    return _apart(_indices("train_is", train_is), _indices("test_is", test_is))


def listed_fold(train_is: object, test_is: object) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same, where each may also be a list of row numbers."""
    return _apart(_listed("train_is", train_is), _listed("test_is", test_is))


def _apart(train: NDArray[np.int64], test: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if len(np.unique(test)) < len(test):
        raise BadInput("test_is", "An index is repeated: each test row counts once.")
    if len(shared := np.intersect1d(train, test)):
        raise BadInput(
            "test_is",
            f"Row {shared[0]} is in train_is and in test_is: a fold's two parts can't overlap.",
        )
    return train, test


def _indices(field: str, text: object) -> NDArray[np.int64]:
    try:
        indices = transfer.decompress_indices(text, settings.MAX_FILE)
    except transfer.TransferError as error:
        raise BadInput(field, f"{error} The bytes are int64, little-endian.") from error
    return _rows(field, indices)


def _listed(field: str, rows: object) -> NDArray[np.int64]:
    if not isinstance(rows, list):
        return _indices(field, rows)
    if not all(type(row) is int and abs(row) < 2**63 for row in rows):
        raise BadInput(field, "Send a list of row numbers, or base64(zlib(int64 little-endian bytes)).")
    return _rows(field, np.array(rows, np.int64))


def _rows(field: str, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    if not len(indices):
        raise BadInput(field, "It is empty: name at least one row.")
    if indices.min() < 0:
        raise BadInput(field, f"Index {indices.min()} is negative: rows count from 0.")
    return indices


def index_range(train_is: NDArray[np.int64], test_is: NDArray[np.int64], rows: int) -> None:
    """Every index names one of the train part's `rows` rows."""
    for field, indices in (("train_is", train_is), ("test_is", test_is)):
        if (largest := int(indices.max())) >= rows:
            raise BadInput(field, index_range_problem(largest, rows))


def index_range_problem(max_index: int, rows: int) -> str:
    return f"Index {max_index} is out of range: the train part has {rows} rows, counted from 0."
