"""What predictions must be. The child checks to explain; the supervisor checks because it trusts no child."""

import math
import traceback
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarun.contract import predictions as transferred
from datarun.contract.predictions import Predictions

#: Numbers and bytes of one part, at most: who reads them has several copies of them for a while.
MOST_NUMBERS = 1 << 25
MOST_BYTES = 8 * MOST_NUMBERS + 4096  # with the header of a `.npy`
#: Bytes of ragged predictions, of which Python makes many times as many.
MOST_RAGGED = 8 << 20
_LONGEST_REASON = 1000
_NPY = b"\x93NUMPY"


class BadOutput(Exception):
    """Predictions that can't be used; says why."""


def check(values: Any, rows: int, part: str) -> NDArray[np.float64]:
    """`values` as C-ordered float64 of shape (rows,) or (rows, columns); raises `BadOutput`.

    Parameters
    ----------
    values
        What a submission predicted: an array of booleans, integers or floats, or what numpy makes one of.
    rows
        How many rows were to be predicted.
    part
        What was predicted, for the message.
    """
    array = _array(values, part)
    if array.ndim not in (1, 2) or array.shape[1:] == (0,):
        raise BadOutput(
            f"The predictions of the {part} have shape {array.shape}: (rows,) or (rows, columns) is wanted."
        )
    _check_size(array, rows, part)
    array = np.ascontiguousarray(array, dtype=np.float64)
    _check_finite(array, part)
    return array


def check_kit(values: Any, rows: int, part: str) -> Predictions:
    """What a kit's workflow has predicted, its dtype and its order in memory kept: its `Predictions` know the rest.

    An array of numbers; or ragged, of objects (rows,): lists of tuples of numbers, or None. Raises `BadOutput`.
    """
    if _is_ragged(values):
        return _ragged(values, rows, part)
    array = _array(values, part, objects=True)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if problem := transferred.array_problem(array):
        raise BadOutput(f"The predictions of the {part}: {problem}.")
    _check_size(array, rows, part)
    _check_finite(array, part)
    return array


def read(content: bytes, rows: int, part: str, kit: bool) -> Predictions:
    """Checked predictions out of what a child has sent, as `datarun.contract.predictions` encodes them."""
    if not content.startswith(_NPY) and len(content) > MOST_RAGGED:
        raise BadOutput(
            f"The predictions of the {part} are too large: {len(content)} bytes, of at most {MOST_RAGGED}."
        )
    try:
        values = transferred.loads(content)
    except transferred.PredictionsError as error:
        raise BadOutput(f"The predictions of the {part} can't be read: {error}.") from error
    return check_kit(values, rows, part) if kit else check(values, rows, part)


def _array(values: Any, part: str, objects: bool = False) -> NDArray[Any]:
    """`values` as numbers, also if they are `objects`."""
    try:
        array = np.asarray(values)
        if objects and array.dtype.kind == "O":
            array = array.astype(np.float64)
    except Exception as error:  # an object's own __array__ may raise anything
        reason = "".join(traceback.format_exception_only(error)).strip()[-_LONGEST_REASON:]
        raise BadOutput(f"The predictions of the {part} are no array: {reason}") from error
    if array.dtype.kind not in "biuf":
        dtype = str(array.dtype)[:_LONGEST_REASON]
        raise BadOutput(f"The predictions of the {part} are not numeric: dtype {dtype}.")
    return array


def _is_ragged(values: Any) -> bool:
    return (
        isinstance(values, np.ndarray)
        and values.dtype.kind == "O"
        and values.ndim == 1
        and any(row is None or isinstance(row, list | tuple | np.ndarray) for row in values)
    )


def _ragged(values: Predictions, rows: int, part: str) -> Predictions:
    """As they will be read again."""
    try:
        array = transferred.loads(transferred.dumps(values))
    except (transferred.PredictionsError, TypeError) as error:
        raise BadOutput(
            f"The predictions of the {part} are neither numbers nor lists of lists of numbers: {error}."
        ) from error
    _check_size(array, rows, part)
    for number, row in enumerate(array):
        if row is not None and not all(-math.inf < value < math.inf for item in row for value in item):
            raise BadOutput(
                f"The predictions of the {part} are not finite in row {number} (NaN or infinite)."
            )
    return array


def _check_size(array: Predictions, rows: int, part: str) -> None:
    if len(array) != rows:
        raise BadOutput(f"Wrong length: {len(array)} predictions of the {part}, which has {rows} rows.")
    if array.size > MOST_NUMBERS:
        raise BadOutput(
            f"The predictions of the {part} are too large: {array.size} numbers, of at most {MOST_NUMBERS}."
        )


def _check_finite(array: NDArray[Any], part: str) -> None:
    if not np.isfinite(array).all():
        number = int((~np.isfinite(array)).any(axis=tuple(range(1, array.ndim))).sum())
        raise BadOutput(
            f"The predictions of the {part} are not finite in {number} of {len(array)} rows (NaN or infinite)."
        )
