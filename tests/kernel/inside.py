"""Run in the virtual machine: a few submissions, and what keeps them in. Prints a line of JSON.

Emulation is slow: nothing here is about time.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datarun.contract.messages import Limits
from datarun.runner.sandbox.lockdown import MAX_PROCESSES
from datarun.runner.sandbox.probe import protections
from tests.bench import Bench, classifier

_WALL = 600.0
#: Each of three processes has a third of the limit, and the first some of its own.
_LIMIT = 384 << 20
_IN_CHILDREN = """
for _ in range(3):
    if os.fork() == 0:
        held = bytearray(os.urandom(1 << 20) * (LIMIT >> 20))[: LIMIT // 3]
        time.sleep(SLEEP)
        os._exit(0)
time.sleep(SLEEP)
"""
_MANY = """
children = 0
try:
    while children < 5000:
        if os.fork() == 0:
            time.sleep(SLEEP)
            os._exit(0)
        children += 1
except OSError as error:
    raise RuntimeError(f"refused after {children} children") from error
"""


def submissions() -> Iterator[tuple[str, dict[str, str | bytes | Path]]]:
    yield "innocent", classifier()
    for name, fit in {"memory of its children": _IN_CHILDREN, "many processes": _MANY}.items():
        yield name, classifier(fit=fit.replace("LIMIT", str(_LIMIT)).replace("SLEEP", str(_WALL)))


def main() -> None:
    said: dict[str, object] = {"most": MAX_PROCESSES}
    said["protections"] = {each.name: [each.in_force, each.text] for each in protections()}
    with tempfile.TemporaryDirectory() as folder, Bench.serving(Path(folder)) as bench:
        data = bench.toy_data()
        for name, files in submissions():
            order = bench.fold(data, ("classifier",), files, np.arange(6), Limits(_WALL, _LIMIT))
            outcome = bench.outcome(order)
            bench.executor.settle()
            said[name] = [outcome.failure, outcome.message]
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
