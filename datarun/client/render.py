"""What a terminal shows: tables, and a submission with the state of each fold. It prints nothing itself."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from .resources import Dataset, Fold, Submission

_STAGES = {"": 0, "trained": 1, "validated": 2}
_DOING = {"": "training", "trained": "validating", "validated": "testing"}
_STYLES = {"done": "green", "scored": "green", "ready": "green", "running": "yellow", "preparing": "yellow"}
_STYLES |= {"live": "green", "draining": "yellow", "gone": "red", "incompatible": "red"}
_STYLES |= {"failed": "red", "partial": "red", "cancelled": "dim", "waiting": "dim", "closed": "dim"}
#: With more folds than this, one is a cell of a bar, and only those that failed have a line.
_MOST_LINES = 16
_MOST_FAILURES = 5


def styled(state: str) -> Text:
    return Text(state, style=_STYLES.get(state, ""))


def number(value: Any, digits: int = 4) -> str:
    """A number, short enough for a table; `--json` has all digits."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:.4g}"


def spread(values: Mapping[str, Any]) -> str:
    """``0.9667 ± 0.0211``"""
    std = values.get("std")
    return number(values.get("mean")) + ("" if std is None else f" ± {number(std)}")


def when(moment: datetime | str | None) -> str:
    if moment is None:
        return ""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"


def table(*columns: str, right: Sequence[str] = ()) -> Table:
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    return made


def facts(pairs: Iterable[tuple[str, Any]]) -> Table:
    """A line for each fact that there is."""
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, "", [], ()):
            made.add_row(name, value if isinstance(value, Text) else escape(str(value)))
    return made


# --- lists ---------------------------------------------------------------------------------------------


def datasets(rows: Iterable[Dataset]) -> RenderableType:
    shown = table("id", "name", "state", "metric", "folds", "rows", "owner", right=("id", "folds", "rows"))
    for each in rows:
        metric = each.metrics[0]["name"] if each.metrics else ""
        rows_ = "" if each.n_train is None else str(each.n_train + (each.n_test or 0))
        folds = "" if each.n_folds is None else str(each.n_folds)
        shown.add_row(
            str(each.id),
            escape(each.name),
            styled(each.state),
            escape(metric),
            folds,
            rows_,
            escape(each.owner or ""),
        )
    return shown if shown.row_count else Text("No data sets.")


def dataset(each: Dataset) -> RenderableType:
    cv = each.cv or {}
    cut = (
        cv.get("splitter")
        and f"{cv['splitter']}({', '.join(f'{k}={v}' for k, v in cv.get('parameters', {}).items())})"
    )
    arrows = [f"{m['name']} ({'less' if m['lower_is_better'] else 'more'} is better)" for m in each.metrics]
    return facts(
        [
            ("data set", f"{each.name} (id {each.id})"),
            ("state", styled(each.state)),
            ("problem", each.problem),
            ("owner", each.owner),
            ("predicts", each.target_column),
            ("submissions bring", ", ".join(f"{name}.py" for name in each.elements)),
            ("metrics", ", ".join(arrows)),
            ("cross-validation", cut),
            ("folds", each.n_folds),
            ("rows", None if each.n_train is None else f"{each.n_train} train, {each.n_test} test"),
            ("posted", when(each.created_at)),
            ("closed", when(each.closed_at)),
        ]
    )


def submissions(rows: Iterable[Submission]) -> RenderableType:
    shown = table("id", "name", "data set", "state", "folds", "valid", "by", "posted", right=("id", "folds"))
    for each in rows:
        counts = each.counts
        shown.add_row(
            str(each.id),
            escape(each.name),
            escape(each.dataset),
            styled(each.state),
            f"{counts['done']}/{counts['total']}",
            official(each),
            escape(each.user or ""),
            when(each.created_at),
        )
    return shown if shown.row_count else Text("No submissions.")


def official(each: Submission) -> str:
    """The first metric's mean over the folds, on the rows that each validates on."""
    valid = each.value("scores").get("valid", {})
    return next((spread(values) for values in valid.values()), "")


def scores(each: Submission) -> RenderableType:
    shown = table("part", "metric", "mean ± std", "bagged", right=("mean ± std", "bagged"))
    for row in each.summary_rows():
        shown.add_row(row["part"], escape(row["metric"]), spread(row), number(row.get("bagged")))
    return shown if shown.row_count else Text("No scores yet.")


def fold_scores(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    metrics = list(dict.fromkeys(name for row in rows for name in row if name not in ("fold", "part")))
    numbered = ["fold"] if any("fold" in row for row in rows) else []
    shown = table(*numbered, "part", *metrics, right=("fold", *metrics))
    for row in rows:
        named = [str(row["fold"])] if numbered else []
        shown.add_row(*named, row["part"], *(number(row.get(metric)) for metric in metrics))
    return shown


def runners(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    shown = table("name", "state", "queues", "slots", "runs", "datarun", "last seen", right=("slots", "runs"))
    for row in rows:
        shown.add_row(
            escape(row["name"]),
            styled(row["state"]),
            ", ".join(row["queues"]),
            str(row["slots"]),
            str(len(row["runs"])),
            escape(str(row["versions"].get("datarun", ""))),
            when(row["last_seen"]),
        )
    return shown if shown.row_count else Text("No runners.")


def leaderboard(page: Mapping[str, Any], metric: str, width: int) -> RenderableType:
    """By `metric`, the official one; below the table, what the best score together, and why some have no rank.

    So many columns as fit into a line of `width` characters.
    """
    rows = page["results"]
    parts = [part for part in ("valid", "test") if any(metric in row["scores"].get(part, {}) for row in rows)]
    columns = {
        "rank": [number(row["rank"], 0) for row in rows],
        "submission": [str(row["name"]) for row in rows],
        "by": [str(row["user"] or "") for row in rows],
    }
    for part in parts:
        values = [row["scores"].get(part, {}).get(metric, {}) for row in rows]
        columns[f"{part} {metric}"] = [spread(each) for each in values]
        columns[f"{part} bagged"] = [number(each.get("bagged")) for each in values]
    needed = len(columns)
    columns["contributivity"] = [number(row["contributivity"], 2) for row in rows]
    columns["train s"] = [number(row["train_time"], 2) for row in rows]
    columns["posted"] = [when(row["created_at"]) for row in rows]
    while len(columns) > needed and _width(columns) > width:
        columns.popitem()
    shown = table(*columns, right=[name for name in columns if name not in ("submission", "by", "posted")])
    for cells in zip(*columns.values(), strict=True):
        shown.add_row(*map(escape, cells))
    below: list[RenderableType] = []
    blended = {part: values[metric] for part, values in page.get("blended", {}).items() if metric in values}
    if blended:
        together = ", ".join(f"{part} {metric} {number(value)}" for part, value in blended.items())
        below.append(Text(f"The best of them, blended: {together}"))
    below += [
        Text.assemble(f"{row['name']} (submission {row['id']}): ", (one_line(row["why"]), "dim"))
        for row in rows
        if row["why"]
    ]
    if not rows:
        return Text("No submissions yet.")
    return Group(shown, *([Text("")] if below else []), *below)


def _width(columns: Mapping[str, Sequence[str]]) -> int:
    return sum(2 + max(map(len, (name, *cells))) for name, cells in columns.items())


# --- one submission ------------------------------------------------------------------------------------


class SubmissionView:
    """A submission with its folds, as it is now: a line a fold, or a cell a fold where these are many."""

    def __init__(self, submission: Submission, folds: Sequence[Fold]) -> None:
        self._submission, self._folds = submission, folds

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        full, empty = ("#", ".") if options.ascii_only else ("■", "□")
        yield self._head()
        if self._submission.failure:
            yield Text(f"  {_message(self._submission.failure)}", style="red")
        elif self._submission.waiting and not any(fold.state == "running" for fold in self._folds):
            yield Text(f"  waits: {self._submission.waiting}", style="dim")
        if len(self._folds) > _MOST_LINES:
            yield self._cells(full, empty)
        yield from self._lines(full, empty)

    def _head(self) -> Text:
        each, counts = self._submission, self._submission.counts
        head = Text.assemble(
            (each.name, "bold"), f" to {each.dataset} (submission {each.id}): ", styled(each.state)
        )
        head.append(f", {counts['done']}/{counts['total']} folds" if counts["total"] else "")
        if each.state == "running" and counts["done"] == counts["total"]:
            head.append(", combining them")
        if counts["failed"]:
            head.append(f", {counts['failed']} failed", style="red")
        metric = next(iter(each.value("scores").get("valid", {})), "")
        if metric:
            head.append(f"\n  {metric} {official(each)}", style="bold")
        return head

    def _cells(self, full: str, empty: str) -> Text:
        cells = Text("  ")
        for fold in self._folds:
            cells.append(empty if fold.state == "waiting" else full, style=_STYLES.get(fold.state, ""))
        return cells

    def _lines(self, full: str, empty: str) -> Iterable[RenderableType]:
        shown: Sequence[Fold] = self._folds
        if len(shown) > _MOST_LINES:
            shown = [fold for fold in shown if fold.state == "failed"][:_MOST_FAILURES]
        if not shown:
            return
        lines = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for _ in range(5):
            lines.add_column(no_wrap=True)
        for fold in shown:
            stages = {"done": 3, "running": _STAGES.get(fold.stage, 0)}.get(fold.state, 0)
            style = _STYLES.get(fold.state, "")
            bar = Text(full * stages + empty * (3 - stages), style=style)
            doing = _DOING.get(fold.stage, "running") if fold.state == "running" else fold.state
            valid = fold.scores().get("valid", {})
            score = next((f"valid {number(value)}" for value in valid.values()), "")
            lines.add_row(f"  fold {fold.number}", bar, Text(doing, style=style), score, _remark(fold))
        yield lines


def _remark(fold: Fold) -> Text:
    if fold.state == "failed":
        return Text(f"{fold.failure}: {last_line(fold.message)}", style="red")
    if fold.state == "waiting":
        return Text(fold.waiting or "", style="dim")
    if fold.state == "done":
        return Text(f"trained in {fold.times.get('train_time', 0.0):.2f} s", style="dim")
    return Text(fold.runner or "", style="dim")


def line(fold: Fold) -> str:
    """The fold in one line, where nothing can be drawn over."""
    doing = _DOING.get(fold.stage, "running") if fold.state == "running" else fold.state
    valid = fold.scores().get("valid", {})
    score = next((f", valid {metric} {number(value)}" for metric, value in valid.items()), "")
    remark = _remark(fold).plain
    return f"fold {fold.number}: {doing}{score}" + (f" ({remark})" if remark else "")


def one_line(text: str) -> str:
    """A text that may quote a traceback, without it but for the line that says what went wrong."""
    before, traceback, quoted = text.partition("Traceback")
    return before + (last_line(quoted) if traceback else "")


def last_line(text: str) -> str:
    """Of a traceback, what says what went wrong."""
    return text.strip().rpartition("\n")[2]


def _message(failure: Any) -> str:
    return str(failure["message"] if isinstance(failure, Mapping) else failure)


def view(submission: Submission, folds: Sequence[Fold]) -> RenderableType:
    """A submission, its folds and its scores."""
    parts: list[RenderableType] = [SubmissionView(submission, folds)]
    if submission.summary_rows():
        parts += [Text(""), scores(submission)]
    return Group(*parts)
