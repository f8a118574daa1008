"""What is believed of what a RAMP kit's preparation says about itself. Runs nothing."""

from collections.abc import Mapping
from typing import Any

_LONGEST = 200  # characters of a name
_MOST = 100  # names


def facts(report: Mapping[str, Any]) -> dict[str, Any]:
    """`title`, `elements` and `metrics`: see `datarun.contract.messages.PrepareOrder`; raises ValueError."""
    given = report.get("facts")
    if not isinstance(given, dict):
        raise ValueError("it told nothing about itself")  # noqa: TRY004
    metrics = [
        {"name": _name(metric["name"]), "lower_is_better": bool(metric["lower_is_better"])}
        for metric in given["metrics"][:_MOST]
    ]
    return {
        "title": _name(given["title"]),
        "elements": [_name(name) for name in given["elements"][:_MOST]],
        "metrics": metrics,
    }


def _name(value: object) -> str:
    return str(value)[:_LONGEST]
