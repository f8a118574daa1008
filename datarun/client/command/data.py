"""Data sets: posted, listed, shown, closed."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from datarun.client import resources
from datarun.client.errors import InputError

from .output import ENDED_BADLY, ClientCommand, Output, bytes_bar


@click.group()
def data() -> None:
    """Data sets, which submissions are made to."""


_OPTIONS = (
    click.option("--target", help="The column of the csv to predict."),
    click.option("--element", "elements", multiple=True, help="A file that submissions bring: classifier, …"),
    click.option(
        "--metric", "metrics", multiple=True, help="A scorer or RAMP score type; the first is official."
    ),
    click.option("--cv", help="How folds are cut: KFold, or ShuffleSplit:n_splits=8,test_size=0.2."),
    click.option("--groups", help="The column whose groups stay together, for GroupKFold and the like."),
    click.option("--held-out-test", type=float, help="Share of the rows in the test part."),
    click.option("--random-state", type=int, help="Seed of the split into train and test part."),
    click.option("--time-limit", type=float, help="Seconds that a fold may take."),
)


def definition_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What a datarun.toml may say too, as options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def defined(
    target: str | None,
    elements: Sequence[str],
    metrics: Sequence[str],
    cv: str | None,
    groups: str | None,
    held_out_test: float | None,
    random_state: int | None,
    time_limit: float | None,
) -> dict[str, Any]:
    """The fields of a data set that the options of `definition_options` give."""
    given = {
        "target_column": target,
        "elements": list(elements) or None,
        "metrics": list(metrics) or None,
        "cv": None if cv is None else {**parse_cv(cv), "groups": groups},
        "held_out_test": held_out_test,
        "random_state": random_state,
        "time_limit": time_limit,
    }
    return {name: value for name, value in given.items() if value is not None}


@data.command(cls=ClientCommand)
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--name", help="What to call it; default: the name of the file or folder.")
@definition_options
@click.option("--no-wait", is_flag=True, help="Don't wait until it is prepared.")
@click.pass_obj
def push(output: Output, /, path: Path, name: str | None, no_wait: bool, **options: Any) -> None:
    """Post the data set at PATH: a csv, a folder with a datarun.toml, or the folder of a RAMP kit.

    A csv needs --target, --element, --metric and --cv; all of them can also stand in the datarun.toml.
    """
    with bytes_bar(output, path.name) as progress:
        posted = output.client.push(path, name=name, progress=progress, **defined(**options))
    if not no_wait:
        with output.messages.status(f"{posted.name}: splitting it and cutting its folds …"):
            posted.wait()
    _show(output, posted)
    if posted.state == "failed":
        raise SystemExit(ENDED_BADLY)


def parse_cv(text: str) -> dict[str, Any]:
    """``ShuffleSplit:n_splits=8,test_size=0.2`` as the API wants it."""
    splitter, _, listed = text.partition(":")
    parameters = {}
    for pair in filter(None, listed.split(",")):
        match = re.fullmatch(r"\s*(\w+)\s*=\s*(\S+)\s*", pair)
        if match is None:
            raise InputError(f"--cv: {pair!r} is not name=value, as in KFold:n_splits=5,shuffle=true.")
        parameters[match[1]] = _value(match[2])
    return {"splitter": splitter.strip(), "parameters": parameters}


def _value(text: str) -> Any:
    try:
        return json.loads(text.lower().replace("none", "null"))
    except ValueError as error:
        raise InputError(f"--cv: {text!r} is no number, true, false or none.") from error


@data.command(cls=ClientCommand)
@click.option("--search", help="Only those with this in their name.")
@click.pass_obj
def ls(output: Output, search: str | None) -> None:
    """List the data sets."""
    from datarun.client import render

    found = list(output.client.datasets(search))
    output.show([each.raw for each in found], lambda: render.datasets(found))


@data.command(cls=ClientCommand)
@click.argument("dataset")
@click.pass_obj
def show(output: Output, dataset: str) -> None:
    """Show DATASET, by name or id."""
    _show(output, output.client.dataset(dataset))


@data.command(cls=ClientCommand)
@click.argument("dataset")
@click.pass_obj
def close(output: Output, dataset: str) -> None:
    """Close DATASET: it takes no more submissions, and test scores are shown to everybody."""
    _show(output, output.client.dataset(dataset).close())


def _show(output: Output, found: resources.Dataset) -> None:
    from datarun.client import render

    output.show(found.raw, lambda: render.dataset(found))
