"""Without a feature extractor a predictor gets what NumPy makes of the data frame, to the bit and its layout."""

import pickle

import numpy as np
import pandas as pd
import pytest

from datarun.runner.workflows.tabular import Table

ROWS = np.array([3, 1, 1, 4])
NUMBERS = np.random.default_rng(0).normal(size=(50, 4))
FRAMES = {
    "one type, by row": pd.DataFrame(NUMBERS, columns=list("abcd")),
    "one type, by column": pd.DataFrame(dict(zip("abcd", NUMBERS.T, strict=True))),
    "one column": pd.DataFrame({"a": range(5)}),
    "numbers of two types": pd.DataFrame({"a": range(5), "b": np.linspace(0, 1, 5)}),
    "numbers and texts": pd.DataFrame({"a": range(5), "b": list("vwxyz")}),
    "texts": pd.DataFrame({"a": list("abcde"), "b": list("vwxyz")}),
    "times": pd.DataFrame(
        {"a": pd.date_range("2026-01-01", periods=5), "b": pd.date_range("2027-01-01", periods=5)}
    ),
    "no column": pd.DataFrame(index=range(5)),
}


@pytest.mark.parametrize("name", FRAMES)
def test_arrays_are_those_of_the_frame(name: str) -> None:
    table = pickle.loads(pickle.dumps(Table(FRAMES[name])))
    assert len(table) == len(FRAMES[name])
    for made, expected in (
        (table.array(), np.array(table.frame)),
        (table.array_of(ROWS), np.array(table.frame.iloc[ROWS])),
    ):
        assert made.dtype == expected.dtype
        assert made.shape == expected.shape
        assert made.flags.c_contiguous == expected.flags.c_contiguous
        assert (made == expected).all()


@pytest.mark.parametrize("name", ["one type, by row", "one type, by column"])
def test_what_is_done_to_an_array_is_not_done_to_the_data(name: str) -> None:
    table = Table(FRAMES[name].copy())
    for made in (table.array(), table.array_of(ROWS)):
        made[:] = 7
    assert table.frame.equals(FRAMES[name])
