"""Predictions as bytes: a closed set of types, read without pickle.

`.npy` of booleans, integers or floats, of up to three dimensions; or ragged: a JSON list with, for each row, a list
of lists of numbers, or null.
"""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import npy

Predictions = NDArray[Any]

_NPY = b"\x93NUMPY"
_MOST_DIMENSIONS = 3


class PredictionsError(ValueError):
    """The bytes are no predictions."""


def dumps(values: Predictions) -> bytes:
    """`values` as bytes: an array of numbers, or of objects (rows,), each a list of lists of numbers or None."""
    if values.dtype.kind != "O":
        return npy.dumps(values)
    return json.dumps(
        [None if row is None else [list(map(_plain, item)) for item in row] for row in values]
    ).encode()


def loads(content: bytes) -> Predictions:
    """What `dumps` was given: lists of tuples in place of lists of lists. Raises `PredictionsError`."""
    if content.startswith(_NPY):
        try:
            array = npy.loads(content)
        except npy.NpyError as error:
            raise PredictionsError(str(error)) from error
        if array.dtype.kind not in "biuf" or not 0 < array.ndim <= _MOST_DIMENSIONS:
            raise PredictionsError(
                f"an array of {array.dtype} with {array.ndim} dimensions holds no predictions"
            )
        return array
    return _ragged(content)


def array_problem(array: NDArray[Any]) -> str | None:
    """Why an array of numbers holds no predictions, or None."""
    if array.dtype.kind in "biuf" and array.dtype.isnative and 0 < array.ndim <= _MOST_DIMENSIONS:
        return None
    return f"an array of {array.dtype}, shape {array.shape}, holds no predictions"


def _ragged(content: bytes) -> Predictions:
    try:
        rows = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PredictionsError(f"neither .npy nor JSON: {error}") from error
    if not isinstance(rows, list):
        raise PredictionsError("ragged predictions are a list")
    array = np.empty(len(rows), dtype=object)
    for number, row in enumerate(rows):
        array[number] = None if row is None else _items(row)
    return array


def _items(row: object) -> list[tuple[float, ...]]:
    if not isinstance(row, list) or not all(isinstance(item, list) for item in row):
        raise PredictionsError("a row of ragged predictions is a list of lists of numbers")
    items = [tuple(item) for item in row]
    if not all(type(number) in (int, float) for item in items for number in item):
        raise PredictionsError("a row of ragged predictions has something else than numbers")
    return items


def _plain(number: Any) -> int | float:
    """A Python number."""
    plain = number.item() if isinstance(number, np.generic) else number
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise PredictionsError(f"{plain!r:.40} is no number")
    return plain
