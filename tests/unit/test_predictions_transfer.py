"""Predictions on their way: what a runner sends is what the master stores, bit by bit; anything else is refused."""

import pickle

import numpy as np
import pytest

from datarun.contract import predictions
from datarun.contract.predictions import PredictionsError


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "uint8", "bool"])
def test_arrays_keep_type_shape_and_bits(dtype: str) -> None:
    array = np.arange(12).reshape(3, 2, 2).astype(dtype)
    arrived = predictions.loads(predictions.dumps(array))
    assert (arrived.dtype, arrived.shape, arrived.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_ragged_rows_keep_their_numbers() -> None:
    rows = np.empty(4, dtype=object)
    rows[:] = [[(0.1, 2, np.float64(1 / 3))], [], None, [(1.0, 2.5), (3, 4)]]
    arrived = predictions.loads(predictions.dumps(rows))
    assert arrived.dtype == object
    assert arrived.tolist() == [[(0.1, 2, 1 / 3)], [], None, [(1.0, 2.5), (3, 4)]]


@pytest.mark.parametrize("row", [[("a",)], [(True,)], [(1j,)], [({},)]])
def test_what_is_no_number_is_not_sent(row: list[tuple[object]]) -> None:
    rows = np.empty(1, dtype=object)
    rows[0] = row
    with pytest.raises(PredictionsError):
        predictions.dumps(rows)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[[1]]",
        b'[[["a"]]]',
        b"[[[true]]]",
        b"[" * 100_000,
        pickle.dumps([1]),
        b"\x93NUMPY\x01\x00",
    ],
)
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(PredictionsError):
        predictions.loads(content)
