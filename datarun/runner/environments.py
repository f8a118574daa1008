"""Named environments of a runner: Pythons with packages of their own, for data sets that need other versions.

An environment has Python 3.11 or newer, numpy, and what its data sets need: pandas and scikit-learn, or ramp-workflow.
datarun itself need not be installed in it.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datarun.contract.queues import ENVIRONMENT
from datarun.env import SettingsError

VARIABLE = "DR_ENVIRONMENTS"
_TIMEOUT = 60.0
#: Packages whose versions decide what a fold computes.
PACKAGES = ("joblib", "numpy", "pandas", "ramp-workflow", "scikit-learn", "scipy", "threadpoolctl")
_ASK = """
import importlib.metadata, json, platform, sys
import numpy
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python, and the versions of it and of its packages."""

    python: Path = field(default_factory=lambda: Path(sys.executable))
    versions: Mapping[str, str] = field(default_factory=dict)


def read(entries: tuple[str, ...]) -> dict[str, Environment]:
    """The environments in ``name=/path/to/python`` entries; raises `SettingsError`."""
    found: dict[str, Environment] = {}
    for entry in entries:
        name, _, path = entry.partition("=")
        if not ENVIRONMENT.fullmatch(name) or not path:
            hint = "Write NAME=/path/to/bin/python, names of letters, digits and dashes; several with commas."
            raise SettingsError(VARIABLE, f"has {entry!r}", hint)
        python = Path(path).expanduser()
        found[name] = Environment(python, _versions(name, python))
    return found


def _versions(name: str, python: Path) -> dict[str, str]:
    """Asks that Python, which must be able to run a fold."""
    command = [str(python), "-I", "-c", _ASK, *PACKAGES]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
        versions: dict[str, str] = json.loads(asked.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        why = str(getattr(error, "stderr", None) or error).strip().splitlines()[-1]
        raise SettingsError(
            VARIABLE, f"names {name}, which can't be used: {why}", "See docs/kits.rst."
        ) from error
    if tuple(map(int, versions["python"].split(".")[:2])) < (3, 11):
        raise SettingsError(
            VARIABLE, f"names {name}, with Python {versions['python']}", "It takes 3.11 or newer."
        )
    return versions
