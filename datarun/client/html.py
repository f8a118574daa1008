"""What notebooks show of data sets, submissions and folds: small tables, everything in them escaped."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

_COLOURS = {"done": "#2e7d32", "failed": "#c62828", "running": "#f9a825", "cancelled": "#757575"}


def card(title: str, facts: Mapping[str, Any], below: str = "") -> str:
    """A heading, and a line for each fact that there is; `below` is HTML already."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(str(value))}</td></tr>"
        for name, value in facts.items()
        if value not in (None, "", [])
    )
    return f"<div><strong>{escape(title)}</strong><table>{rows}</table>{below}</div>"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape('' if each is None else str(each))}</td>" for each in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def bar(states: Sequence[str]) -> str:
    """A cell for each fold, coloured by its state."""
    cells = "".join(
        f"<span title='fold {number}: {escape(state)}' style='display:inline-block;width:0.9em;height:0.9em;"
        f"margin:1px;background:{_COLOURS.get(state, '#cfcfcf')}'></span>"
        for number, state in enumerate(states)
    )
    return f"<div style='line-height:1'>{cells}</div>"
