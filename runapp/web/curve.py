"""The curve of bagging, as coordinates that a template draws."""

from collections.abc import Mapping, Sequence
from typing import Any

_LEFT, _TOP, _WIDTH, _HEIGHT = 70, 15, 540, 160  # of what the axes enclose


def drawn(curves: Mapping[str, Sequence[float | None]]) -> dict[str, Any] | None:
    """Part → the score of the first fold, of the first two folds together, and so on. None if there is no number."""
    numbers = [value for curve in curves.values() for value in curve if value is not None]
    if not numbers:
        return None
    low, high = min(numbers), max(numbers)
    most = max(len(curve) for curve in curves.values())

    def place(position: int, value: float) -> tuple[float, float]:
        x = _LEFT + _WIDTH * (position / (most - 1) if most > 1 else 0.5)
        y = _TOP + _HEIGHT * ((high - value) / (high - low) if high > low else 0.5)
        return round(x, 1), round(y, 1)

    lines = []
    for part, curve in curves.items():
        dots = [place(position, value) for position, value in enumerate(curve) if value is not None]
        lines.append({"part": part, "dots": dots, "points": " ".join(f"{x},{y}" for x, y in dots)})
    return {"lines": lines, "low": low, "high": high, "folds": most}
