"""Labels on their way into a fold: they arrive as they were, and nothing that a file holds is executed."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from datarun.runner.sandbox.labels import dumps, loads


@given(arrays.arrays(st.sampled_from(["f8", "f4", "i8", "i2", "u1", "?", ">f8"]), st.integers(0, 20)))
def test_numbers_arrive_bit_by_bit(y: np.ndarray) -> None:
    arrived = loads(dumps(y))
    assert (arrived.dtype, arrived.shape) == (y.dtype, y.shape)
    assert arrived.tobytes() == y.tobytes()
    assert arrived.flags.writeable


VALUES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text()


@given(st.lists(VALUES, max_size=20))
def test_other_values_arrive_as_they_were(values: list[object]) -> None:
    y = np.empty(len(values), dtype=object)
    y[:] = values
    arrived = loads(dumps(y))
    assert (arrived.dtype, arrived.tolist()) == (np.dtype(object), values)
    assert [type(value) for value in arrived] == [type(value) for value in values]


def test_a_missing_text_stays_missing() -> None:
    y = pd.Series(["a", None, float("nan")], dtype=object).to_numpy()
    arrived = loads(dumps(y))
    assert arrived[0] == "a"
    assert pd.isna(arrived[1:]).all()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nothing",
        pickle.dumps([1]),
        b"|O\n" + bytes(8),
        b"|V8\n" + bytes(8),
        b"<M8[s]\n" + bytes(8),
        b"<f8\n" + bytes(7),
        b"[('a', '<f8')]\n" + bytes(8),
        b"\n[1, 2",
        b"\n" + json.dumps({"a": 1}).encode()[:-1],
    ],
)
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        loads(content)
