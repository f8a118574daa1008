"""What a scoring child is told, and what is believed of what it says. Runs nothing."""

import functools
import importlib.metadata
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from datarun.contract.metrics import SCORE_TYPES
from datarun.runner.environments import PACKAGES

_PARTS = ("train", "valid", "test")


def modules(metrics: Iterable[str], kit: bool) -> set[str]:
    """What a data set's zygote imports once, for the children that score."""
    found = {f"datarun.runner.scoring.{name}" for name in ("ensembles", "kit" if kit else "builtin")}
    return found | ({"rampwf"} if any(name in SCORE_TYPES for name in metrics) else set())


def scores(report: Mapping[str, Any], metrics: Iterable[str]) -> dict[str, dict[str, float]]:
    """Part → metric → value as a child has reported them; raises ValueError if these are no such scores."""
    given, names = report.get("scores"), set(metrics)
    if not isinstance(given, dict) or not set(given) <= set(_PARTS):
        raise ValueError("it gave no scores")
    for values in given.values():
        if not isinstance(values, dict) or set(values) != names or not all(map(_is_number, values.values())):
            raise ValueError("it gave no scores of these metrics")
    return {part: {name: float(value) for name, value in values.items()} for part, values in given.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@functools.cache
def surroundings() -> dict[str, Any]:
    """What a score depends on beside code, data and folds, on this machine: `cpu`, `python`, `versions`."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"cpu": _cpu_model(), "python": platform.python_version(), "versions": versions}


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
