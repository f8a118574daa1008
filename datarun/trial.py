"""``datarun check`` and ``datarun replay``: run here what a runner would run there, with the same executor and sandbox.

It stands above client and runner, which know nothing of each other: one reads folders, the other runs what is in them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datarun.client import files
from datarun.client.command.data import defined, definition_options
from datarun.client.command.output import ENDED_BADLY, ClientCommand, Output
from datarun.client.errors import InputError
from datarun.client.resources import Dataset, Fold
from datarun.contract import metrics, splitters
from datarun.contract.elements import elements_problem

if TYPE_CHECKING:
    from datarun.contract.messages import Outcome
    from datarun.runner.local import DataSet, LocalRunner, Ready

_STARTING_KIT = "submissions/starting_kit"


@dataclass(frozen=True)
class Trial:
    """What is to be checked: a data set, and perhaps a submission to it."""

    data_set: "DataSet"
    submission: Mapping[str, bytes] | None


@click.command(cls=ClientCommand)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--data",
    "source",
    type=click.Path(path_type=Path, exists=True),
    help="The data set: csv, folder or kit; default: the folder that FOLDER lies in.",
)
@definition_options
@click.option(
    "--fold", "number", type=click.IntRange(0), default=0, show_default=True, help="Which one is run."
)
@click.option(
    "--rows", type=click.IntRange(1), default=1000, show_default=True, help="Train on so many, of a csv."
)
@click.option("--all-rows", is_flag=True, help="Train on all rows of the fold.")
@click.pass_obj
def check(
    output: Output,
    /,
    folder: Path,
    source: Path | None,
    number: int,
    rows: int,
    all_rows: bool,
    **options: Any,
) -> None:
    """Run the submission in FOLDER here, on one fold, as a runner would.

    What fails here would fail on the platform. FOLDER may also be a data set: it is then prepared, and its starting
    kit is run.
    """
    local_module()
    trial = _trial(folder, source, defined(**options))
    _run(output, trial, number, None if all_rows else rows)


def local_module() -> Any:
    """`datarun.runner.local`, or a sentence that says how to get it."""
    try:
        from datarun.runner import local
    except ImportError as error:
        raise InputError(f"{error.name} is missing: pip install 'datarun[runner]'.") from error
    return local


@click.command(cls=ClientCommand)
@click.argument("fold", type=int)
@click.option(
    "--data",
    "source",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="The data set's files as they were posted: csv, folder or kit.",
)
@click.pass_obj
def replay(output: Output, /, fold: int, source: Path) -> None:
    """Run FOLD here once more, and compare with what it gave there, bit by bit.

    FOLD is the id of a fold, as datarun status --json tells it. The data must be the same; where versions, threads or
    processor are others, results may differ: it says in what.
    """
    local = local_module()
    there = output.client.fold(fold)
    if there.state != "done":
        raise InputError(f"Fold {fold} is {there.state}: there is nothing to compare with.")
    submission = output.client.submission(there.value("submission"))
    record = there.record()
    data_set = _as_posted(source, output.client.dataset(submission.dataset), record["limits"])
    with (
        local.LocalRunner.running(record["threads"]) as runner,
        output.messages.status("preparing the data set …") as status,
    ):
        ready = prepared(output, runner, data_set)
        _check_same(runner, ready, record, there.number)
        status.update(f"fold {there.number} …")
        outcome = runner.run(ready, submission.code(), there.number or 0)
    if outcome.failure is not None:
        report(output, f"Fold {there.number}", outcome)
    _compare(output, there, record, outcome)


# --- what is to be run ---------------------------------------------------------------------------------


def _trial(folder: Path, source: Path | None, given: Mapping[str, Any]) -> Trial:
    if source is None and _is_data_set(folder):
        start = folder / _STARTING_KIT
        return Trial(read(folder, given), files.as_files(start) if start.is_dir() else None)
    source = source or next((each for each in folder.resolve().parents if _is_data_set(each)), None)
    if source is None:
        raise InputError(f"No data set is around {folder}: name it with --data.")
    submission = files.as_files(folder)
    data_set = read(source, given)
    missing = [f"{name}.py" for name in data_set.elements if f"{name}.py" not in submission]
    if missing:
        raise InputError(f"Missing: {', '.join(missing)}: one for each workflow element.")
    return Trial(data_set, submission)


def _is_data_set(folder: Path) -> bool:
    return (folder / files.DEFINITION).is_file() or (folder / files.PROBLEM).is_file()


def read(source: Path, given: Mapping[str, Any]) -> "DataSet":
    """The data set at `source`, with what the platform would find wrong with it; raises `InputError`."""
    local = local_module()
    found = files.data_set(source)
    fields = {**found.fields, **given}
    limits = local.LIMITS
    if "time_limit" in fields:
        limits = replace(limits, wall=float(fields["time_limit"]))
    known: dict[str, Any] = {
        name: fields[name] for name in ("held_out_test", "random_state", "target_column") if name in fields
    }
    if found.kind != "kit":
        known |= _definition(source, found.kind, fields)
    made: DataSet = local.DataSet(kind=found.kind, files=found.files, limits=limits, **known)
    return made


def _definition(source: Path, kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    if kind == "csv" and not fields.get("target_column"):
        raise InputError(f"{source}: say which column is to be predicted: target_column (--target).")
    if not fields.get("cv"):
        raise InputError(f"{source}: say how folds are cut: cv (--cv KFold).")
    elements, cv = tuple(fields.get("elements", ())), fields["cv"]
    if problem := elements_problem(elements, custom=kind == "custom"):
        raise InputError(f"{source}: elements: {problem}")
    task = None
    if kind == "csv":
        task = metrics.Task.REGRESSION if "regressor" in elements else metrics.Task.CLASSIFICATION
    for name in fields.get("metrics", ()):
        if problem := metrics.problem(name, task):
            raise InputError(f"{source}: metrics: {problem}")
    found = splitters.problem(cv.get("splitter", ""), cv.get("parameters", {}), cv.get("groups"), None)
    if found is not None:
        raise InputError(f"{source}: cv: {found[0]}: {found[1]}")
    return {"elements": elements, "metrics": tuple(fields.get("metrics", ())), "cv": cv}


def _as_posted(source: Path, known: Dataset, limits: dict[str, Any]) -> "DataSet":
    """The files at `source`, defined as the platform knows it."""
    from datarun.contract.messages import Limits

    local = local_module()
    found = files.data_set(source)
    made: DataSet = local.DataSet(
        kind=known.value("kind"),
        files=found.files,
        target_column=known.target_column or "",
        elements=known.elements,
        metrics=[metric["name"] for metric in known.metrics],
        cv=None if known.value("kind") == "kit" else known.cv,
        held_out_test=known.value("held_out_test"),
        random_state=known.value("random_state"),
        limits=Limits(**limits | {name: int(limits[name]) for name in ("memory", "disk")}),
    )
    return made


def _check_same(runner: "LocalRunner", ready: "Ready", record: Mapping[str, Any], number: int | None) -> None:
    """Raises `InputError` unless data and rows are those of the record."""
    for name, sha256 in record["data_set"]["files"].items():
        if ready.data.files.get(name) != sha256:
            what = "has other content here" if name in ready.data.files else "is missing here"
            raise InputError(f"These are other data than those of the fold: {name} {what}.")
    rows = (record["folds"]["train_is"], record["folds"]["test_is"])
    if number is None or ready.folds[number : number + 1] != [rows]:
        raise InputError(f"Fold {number} is cut otherwise here: were it and the data set posted by hand?")


# --- running it ----------------------------------------------------------------------------------------


def _run(output: Output, trial: Trial, number: int, most_rows: int | None) -> None:
    """Runs it, and shows how it went; a bad end is the command's."""
    local = local_module()
    with local.LocalRunner.running() as runner, output.messages.status("preparing the data set …") as status:
        ready = prepared(output, runner, trial.data_set)
        if trial.submission is None:
            counts = {"n_train": ready.data.n_train, "n_test": ready.data.n_test, "n_folds": len(ready.folds)}
            output.show({"prepared": counts}, lambda: "There is no starting kit to run.")
            return
        if number >= len(ready.folds):
            raise InputError(f"There is no fold {number}: there are {len(ready.folds)}, numbered from 0.")
        status.update(f"fold {number} …")
        outcome = runner.run(ready, trial.submission, number, most_rows)
    report(output, f"Fold {number}", outcome)


def prepared(output: Output, runner: "LocalRunner", data_set: "DataSet") -> "Ready":
    """The data set, split and cut; ends the command if that fails."""
    try:
        ready = runner.prepare(data_set)
    except local_module().Failed as failed:
        report(output, "The data set can't be prepared", failed.outcome)
        raise SystemExit(ENDED_BADLY) from failed
    rows = ready.data
    output.say(
        f"Prepared: {rows.n_train} train rows, {rows.n_test or 0} test rows, {len(ready.folds)} folds."
    )
    return ready


def report(output: Output, what: str, outcome: "Outcome") -> None:
    """Shows how a job ended; a bad end is the command's."""
    failed = outcome.failure is not None
    told = {
        "state": "failed" if failed else "done",
        "failure": outcome.failure,
        "message": outcome.message,
        "scores": outcome.scores,
        "measures": outcome.measures,
        "record": outcome.facts,
        "log": outcome.log,
    }
    output.show(told, lambda: _shown(what, outcome))
    if failed:
        raise SystemExit(ENDED_BADLY)


def _shown(what: str, outcome: "Outcome") -> list[Any]:
    from rich.text import Text

    from datarun.client import render

    log = [Text("--- it printed", style="dim"), outcome.log.rstrip()] if outcome.log.strip() else []
    if outcome.failure is not None:
        head = Text.assemble(f"{what}: ", ("failed", "red"), f" ({outcome.failure})")
        return [head, outcome.message.rstrip(), *log]
    seconds, memory = outcome.measures.get("train_time", 0.0), outcome.measures.get("train_memory", 0.0)
    head = Text.assemble(
        f"{what}: ", ("done", "green"), f", trained in {seconds:.1f} s with {memory:.0f} MiB"
    )
    rows = [{"part": part, **values} for part, values in outcome.scores.items()]
    return [head, *([render.fold_scores(rows)] if rows else []), *log]


# --- comparing it --------------------------------------------------------------------------------------


def _compare(output: Output, there: Fold, record: Mapping[str, Any], outcome: "Outcome") -> None:
    """Shows what is the same and what is not; a difference is the command's bad end."""
    scores = [
        {"part": part, "metric": metric, "there": value, "here": outcome.scores.get(part, {}).get(metric)}
        for part, values in there.scores().items()
        for metric, value in values.items()
    ]
    surroundings = _differences(record, outcome.facts)
    same = all(row["there"] == row["here"] for row in scores)
    told = {"fold": there.id, "same": same, "scores": scores, "surroundings": surroundings}
    output.show(told, lambda: _compared(there, same, scores, surroundings))
    if not same:
        raise SystemExit(ENDED_BADLY)


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What of versions, threads, seed and processor is not the same: there, and here."""
    flat_there, flat_here = ({**each, **each.get("versions", {})} for each in (there, here))
    names = sorted({*here, *here.get("versions", {})} - {"versions"})
    return {
        name: (flat_there.get(name), flat_here[name])
        for name in names
        if flat_there.get(name) != flat_here[name]
    }


def _compared(
    there: Fold, same: bool, scores: list[dict[str, Any]], surroundings: Mapping[str, tuple[Any, Any]]
) -> list[Any]:
    from datarun.client import render

    shown = render.table("part", "metric", "there", "here", right=("there", "here"))
    for row in scores:
        shown.add_row(row["part"], row["metric"], repr(row["there"]), repr(row["here"]))
    verdict = "the same scores to the last bit" if same else "other scores"
    lines = [f"{name}: {other} there, {own} here" for name, (other, own) in surroundings.items()]
    if not surroundings:
        lines = ["Versions, threads, seed and processor are the same."]
    return [f"Fold {there.id}: {verdict}.", shown, *lines]
