"""Uses temporary files and folders, copies and moves them."""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from .right import Right

class Classifier(Right):
    def fit(self, X, y):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file"
            path.write_text("x")
            shutil.copy2(path, "copy")
            shutil.move("copy", path.with_name("moved"))
            shutil.copytree(folder, "tree")
            path.touch()
            with tempfile.TemporaryFile() as file:
                file.write(b"x")
            np.save(path, np.ones(1 << 22))
            assert np.load(f"{path}.npy", mmap_mode="r").sum() == 1 << 22
        shutil.rmtree("tree")
        assert Path.home() == Path.cwd() == Path(tempfile.gettempdir())
