"""Predictions: numeric, finite and of the right length, or an error that says which they are not."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datarun.runner.predictions import BadOutput, check

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")

FINITE = {"allow_nan": False, "allow_infinity": False}
ACCEPTED = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
)


@given(hnp.arrays(ACCEPTED, hnp.array_shapes(max_dims=2), elements=FINITE))
def test_numbers_of_any_type_become_float64_in_c_order(array: np.ndarray) -> None:
    for layout in (array, np.asfortranarray(array), np.repeat(array, 2, axis=0)[::2]):
        checked = check(layout, len(array), "test part")
        assert checked.dtype == np.float64
        assert checked.dtype.isnative
        assert checked.flags.c_contiguous
        np.testing.assert_array_equal(checked, array.astype(np.float64))


@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=2), elements=FINITE))
def test_float64_arrives_bit_by_bit(array: np.ndarray) -> None:
    assert check(array, len(array), "test part").tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "values",
    [
        [0.5, 1],
        (True, False),
        [[0.5, 0.5], [1, 0]],
        range(2),
        pd.Series([0.5, 1.0], index=[7, 9]),
        pd.DataFrame({"a": [0.5, 1.0], "b": [1, 2]}),
        np.ma.array([0.5, 1.0]),
        np.matrix([[0.5], [1.0]]),
    ],
    ids=lambda values: type(values).__name__,
)
def test_what_numpy_makes_an_array_of_is_accepted(values: Any) -> None:
    checked = check(values, 2, "test part")
    assert type(checked) is np.ndarray
    np.testing.assert_array_equal(checked, np.asarray(values))


class Rebellious:
    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise RuntimeError("I won't")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1.0], "Wrong length: 1 predictions of the test part, which has 2 rows"),
        (np.zeros((3, 2)), "Wrong length: 3 predictions"),
        ([], "Wrong length: 0 predictions"),
        ([1.0, np.nan], "not finite in 1 of 2 rows"),
        ([np.inf, -np.inf], "not finite in 2 of 2 rows"),
        ([[np.nan, np.inf], [0, 0]], "not finite in 1 of 2 rows"),
        (np.array([1e400, 0], dtype=np.longdouble) * np.longdouble(10) ** 400, "not finite"),
        ([1j, 2], "not numeric: dtype complex128"),
        (["0.5", "1"], "not numeric: dtype <U3"),
        ([None, 1.0], "not numeric: dtype object"),
        (None, "not numeric: dtype object"),
        ({"a": 1}, "not numeric: dtype object"),
        (np.array(["2020-01-01"] * 2, dtype="datetime64[D]"), "not numeric: dtype datetime64"),
        (np.zeros(2, dtype=[("a", "f8")]), "not numeric"),
        (scipy.sparse.csr_matrix(np.zeros((2, 2))), "not numeric: dtype object"),
        ([[1.0], [1.0, 2.0]], "no array"),
        (Rebellious(), "no array: RuntimeError: I won't"),
        (1.0, r"shape \(\)"),
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        (np.zeros((2, 0)), r"shape \(2, 0\)"),
    ],
)
def test_what_can_not_be_used_is_refused_and_says_why(values: Any, reason: str) -> None:
    with pytest.raises(BadOutput, match=reason) as caught:
        check(values, 2, "test part")
    assert "test part" in str(caught.value)
