"""Trains in processes of its own."""

import concurrent.futures
import multiprocessing
import subprocess

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        with multiprocessing.Pool(2) as pool:
            assert pool.map(abs, [-1, 2]) == [1, 2]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            assert list(pool.map(abs, [-1, 2])) == [1, 2]
        assert subprocess.check_output(["/bin/echo", "x"]) == b"x\n"
