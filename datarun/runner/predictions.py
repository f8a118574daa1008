"""What predictions must be. The child checks to explain; the supervisor checks because it trusts no child."""

import traceback
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Numbers and bytes of one part, at most: who reads them has several copies of them for a while.
MOST_NUMBERS = 1 << 25
MOST_BYTES = 8 * MOST_NUMBERS + 4096  # with the header of a `.npy`
_LONGEST_REASON = 1000


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
    try:
        array = np.asarray(values)
    except Exception as error:  # an object's own __array__ may raise anything
        reason = "".join(traceback.format_exception_only(error)).strip()[-_LONGEST_REASON:]
        raise BadOutput(f"The predictions of the {part} are no array: {reason}") from error
    if array.dtype.kind not in "biuf":
        dtype = str(array.dtype)[:_LONGEST_REASON]
        raise BadOutput(f"The predictions of the {part} are not numeric: dtype {dtype}.")
    if array.ndim not in (1, 2) or array.shape[1:] == (0,):
        raise BadOutput(
            f"The predictions of the {part} have shape {array.shape}: (rows,) or (rows, columns) is wanted."
        )
    if len(array) != rows:
        raise BadOutput(f"Wrong length: {len(array)} predictions of the {part}, which has {rows} rows.")
    if array.size > MOST_NUMBERS:
        raise BadOutput(
            f"The predictions of the {part} are too large: {array.size} numbers, of at most {MOST_NUMBERS}."
        )
    array = np.ascontiguousarray(array, dtype=np.float64)
    if not np.isfinite(array).all():
        number = int((~np.isfinite(array)).any(axis=tuple(range(1, array.ndim))).sum())
        raise BadOutput(
            f"The predictions of the {part} are not finite in {number} of {rows} rows (NaN or infinite)."
        )
    return array
