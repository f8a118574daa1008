"""How the data set is cut: half of it to train on."""

import numpy as np
from numpy.typing import NDArray

from .data import ROWS


def cut(number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on and to validate on, in fold `number`."""
    rows = np.random.default_rng(number).permutation(ROWS)
    return rows[: ROWS // 2], rows[ROWS // 2 :]
