"""Rows for people who analyse: a pandas DataFrame or numpy array where these are installed, else plain lists."""

from collections.abc import Mapping, Sequence
from typing import Any


def frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A DataFrame with a column for each key, or the rows themselves where pandas is missing."""
    try:
        import pandas as pd
    except ImportError:
        return list(rows)
    return pd.DataFrame.from_records(rows)


def array(content: bytes, media_type: str) -> Any:
    """Predictions: an array, or lists of what is ragged. Without numpy, lists of what is a csv."""
    import json

    if content.startswith(b"\x93NUMPY"):
        from datarun.contract import npy

        return npy.loads(content)
    if media_type == "application/json":
        return json.loads(content)
    _, *rows = [line.split(",") for line in content.decode().splitlines()]  # the first line names the columns
    return [float(row[0]) if len(row) == 1 else [float(number) for number in row] for row in rows]


def stacked(arrays: Sequence[Any]) -> Any:
    """Arrays of the same shape as one, with one more dimension in front; others as the list that they are."""
    shapes = {getattr(each, "shape", None) for each in arrays}
    if len(shapes) != 1 or None in shapes:
        return list(arrays)
    import numpy as np

    return np.stack(arrays)


def wanted_format() -> str:
    """As what to ask for predictions, so that `array` can read them."""
    from importlib.util import find_spec

    return "npy" if find_spec("numpy") else "csv"
