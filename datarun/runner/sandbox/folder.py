"""The folder that one job runs in: what lies where, for supervisor and child.

order.json     what to do (`Task`)
data/          the data set's files
submission/    the submission's files, an importable package
*.npy          index arrays
out/           what the job made: read with distrust
home/          the job's current folder, home and temporary folder
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

#: The submission's package name in the child.
PACKAGE = "submission"
MAX_OUTPUT = 1 << 30
#: The unit of `ru_maxrss` in bytes (getrusage(2)): the kernel counts in KiB, macOS in bytes.
MAX_RSS_UNIT = 1 if sys.platform == "darwin" else 1 << 10


@dataclass(frozen=True, slots=True)
class Task:
    """What the child is to do, in plain values. No secrets: the submission can read it."""

    kind: str
    # Bytes of memory, bytes of one file, and seconds until the soft limit tells the job to finish.
    memory: int
    disk: int
    soft: float | None
    # The csv's or the custom module's file name in data/.
    source: str
    custom: bool
    target_column: str
    elements: tuple[str, ...] = ()
    held_out_test: float | None = None
    random_state: int | None = None
    n_train: int | None = None
    n_test: int | None = None


@dataclass(frozen=True, slots=True)
class JobFolder:
    """Paths below `root`."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def submission(self) -> Path:
        return self.root / PACKAGE

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def home(self) -> Path:
        return self.root / "home"

    def array(self, name: str) -> Path:
        return self.root / f"{name}.npy"

    def make(self) -> None:
        for path in (self.data, self.submission, self.out, self.home):
            path.mkdir(mode=0o700)

    def write_task(self, task: Task) -> None:
        (self.root / "order.json").write_text(json.dumps(asdict(task)))

    def read_task(self) -> Task:
        fields = json.loads((self.root / "order.json").read_text())
        return Task(**fields | {"elements": tuple(fields["elements"])})
