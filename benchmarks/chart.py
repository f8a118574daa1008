"""``python -m benchmarks.chart FILE``: a bar chart of tasks a second by system, which it reads as JSON."""

import json
import sys

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot


def draw(rates: dict[str, float], path: str) -> None:
    matplotlib.rcParams["svg.hashsalt"] = "datarun"  # the same figures make the same file
    figure, axes = pyplot.subplots(figsize=(8, 3.2), layout="constrained")
    names = list(reversed(rates))
    bars = axes.barh(names, [rates[name] for name in names], color="#9db4c8")
    bars[names.index("datarun")].set_color("#1f6f8b")
    axes.bar_label(bars, fmt="%.3g", padding=3)
    axes.set_xlabel("tasks a second")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    draw(json.load(sys.stdin), sys.argv[1])
