"""Submissions: made, watched, read, cancelled, run again."""

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click

from datarun.client.errors import InputError
from datarun.client.resources import Fold, Submission

from .output import ENDED_BADLY, ClientCommand, Output, bytes_bar

_FOLD = click.option("--fold", "number", type=int, help="Only of the fold with this number, from 0.")
_TIMEOUT = click.option("--timeout", type=float, help="Seconds to watch at most.")


@click.command(cls=ClientCommand)
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--dataset", required=True, envvar="DATARUN_DATASET", help="Its name or id.")
@click.option("--name", help="What to call the submission; default: the folder's name.")
@click.option("--heavy", is_flag=True, help="Run its folds on runners for heavy ones.")
@click.option("--force", is_flag=True, help="Submit even if the same code was submitted before.")
@click.option("--watch", is_flag=True, help="Stay until it has ended; the exit code says how.")
@_TIMEOUT
@click.pass_obj
def submit(
    output: Output,
    folder: Path,
    dataset: str,
    name: str | None,
    heavy: bool,
    force: bool,
    watch: bool,
    timeout: float | None,
) -> None:
    """Submit the files in FOLDER to a data set."""
    with bytes_bar(output, folder.name) as progress:
        made = output.client.dataset(dataset).submit(
            folder, name=name, queue="H" if heavy else "L", force=force, progress=progress
        )
    if watch:
        output.say(
            f"Submission {made.id}. Ctrl-C ends the watching only; datarun status {made.id} shows it again."
        )
        _watch(output, made, timeout)
        return
    output.show(
        made.raw, lambda: f"Submission {made.id}. datarun status {made.id} --watch shows how it fares."
    )


@click.command(cls=ClientCommand)
@click.argument("submission", type=int, required=False)
@click.option("--dataset", help="Without SUBMISSION: those to this data set.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many are listed.")
@click.option("--watch", is_flag=True, help="Stay until it has ended; the exit code says how.")
@_TIMEOUT
@click.pass_obj
def status(
    output: Output,
    submission: int | None,
    dataset: str | None,
    limit: int,
    watch: bool,
    timeout: float | None,
) -> None:
    """Show SUBMISSION with its folds, or list the latest submissions."""
    from datarun.client import render

    if submission is None:
        listed = list(islice(output.client.submissions(dataset=dataset), limit))
        output.show([each.raw for each in listed], lambda: render.submissions(listed))
        return
    found = output.client.submission(submission)
    if watch:
        _watch(output, found, timeout)
        return
    folds = found.folds()
    output.show(_with_folds(found, folds), lambda: render.view(found, folds))


def _watch(output: Output, submission: Submission, timeout: float | None) -> None:
    """Until it has ended; ends the command with how."""
    from datarun.client import render

    submission.wait(timeout, progress=not output.as_json)
    if output.as_json:
        output.show(_with_folds(submission, submission.folds()), lambda: None)
    else:
        output.console.print(render.scores(submission))
    if submission.state != "scored":
        raise SystemExit(ENDED_BADLY)


def _with_folds(submission: Submission, folds: Sequence[Fold]) -> dict[str, Any]:
    return {**submission.raw, "folds": {**submission.counts, "results": [fold.raw for fold in folds]}}


@click.command(cls=ClientCommand)
@click.argument("submission", type=int)
@_FOLD
@click.option(
    "-f", "--follow", is_flag=True, help="Go on while it runs; of one fold: --fold, or the first that runs."
)
@click.pass_obj
def logs(output: Output, submission: int, number: int | None, follow: bool) -> None:
    """Print what SUBMISSION printed in its folds, and why a fold failed."""
    folds = _folds(output, submission, number)
    for fold in folds:
        if len(folds) > 1 and not output.as_json:
            click.secho(f"--- fold {fold.number}: {fold.state}", bold=True)
        for text in fold.follow() if follow else [fold.log()]:
            if output.as_json:
                click.echo(json.dumps({"fold": fold.number, "text": text}))
            else:
                click.echo(text, nl=False)
        if follow:
            fold.refresh()
        if output.as_json:
            click.echo(json.dumps({"fold": fold.number, "state": fold.state, "why": fold.why_it_failed()}))
        else:
            click.echo(fold.why_it_failed(), nl=False)


@click.command(cls=ClientCommand)
@click.argument("submission", type=int)
@click.option("--folds", "each_fold", is_flag=True, help="Those of each fold.")
@click.pass_obj
def scores(output: Output, submission: int, each_fold: bool) -> None:
    """Show the scores of SUBMISSION: mean and standard deviation over its folds, and bagged."""
    from datarun.client import render

    found = output.client.submission(submission)
    if each_fold:
        rows = found.score_rows()
        output.show(rows, lambda: render.fold_scores(rows))
    else:
        output.show(found.summary_rows(), lambda: render.scores(found))


@click.command(cls=ClientCommand)
@click.argument("dataset")
@click.pass_obj
def leaderboard(output: Output, dataset: str) -> None:
    """Show the leaderboard of DATASET."""
    from datarun.client import render

    found = output.client.dataset(dataset)
    page = found.leaderboard_page() if not output.as_json else {"results": found.leaderboard_rows()}
    metric = found.metrics[0]["name"] if found.metrics else ""
    output.show(page["results"], lambda: render.leaderboard(page, metric, output.console.width))


@click.command(cls=ClientCommand)
@click.argument("submission", type=int)
@_FOLD
@click.option("--part", type=click.Choice(["train", "test"]), default="test", show_default=True)
@click.option("--format", type=click.Choice(["npy", "csv", "arrow"]), default="npy", show_default=True)
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Folder; default: this one.",
)
@click.pass_obj
def predictions(
    output: Output, submission: int, number: int | None, part: str, format: str, to: Path
) -> None:
    """Save what SUBMISSION predicted, a file for each fold."""
    written = []
    for fold in _folds(output, submission, number):
        if fold.state != "done":
            output.say(f"Fold {fold.number} has no predictions: it is {fold.state}.")
            continue
        path = to / f"submission-{submission}-fold-{fold.number}-{part}.{format}"
        content = fold.predictions_as(format, part)
        try:
            to.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise InputError(f"{path} can't be written: {error.strerror}.") from error
        written.append(str(path))
    output.show(written, lambda: "\n".join(written))


@click.command(cls=ClientCommand)
@click.argument("submission", type=int)
@_FOLD
@click.pass_obj
def cancel(output: Output, submission: int, number: int | None) -> None:
    """Cancel SUBMISSION."""
    found = output.client.submission(submission)
    if number is None:
        found.cancel()
    else:
        _folds(output, submission, number)[0].cancel()
        found.refresh()
    _show(output, found)


@click.command(cls=ClientCommand)
@click.argument("submission", type=int)
@_FOLD
@click.option("--failed", is_flag=True, help="Only the folds that failed.")
@click.pass_obj
def rerun(output: Output, submission: int, number: int | None, failed: bool) -> None:
    """Run SUBMISSION again."""
    found = output.client.submission(submission)
    if number is None:
        found.rerun(failed_only=failed)
    else:
        _folds(output, submission, number)[0].rerun()
        found.refresh()
    _show(output, found)


def _show(output: Output, submission: Submission) -> None:
    from datarun.client import render

    folds = submission.folds()
    output.show(_with_folds(submission, folds), lambda: render.SubmissionView(submission, folds))


def _folds(output: Output, submission: int, number: int | None) -> list[Fold]:
    """All folds, or the one with this number."""
    folds = output.client.submission(submission).folds()
    if number is None:
        return folds
    found = [fold for fold in folds if fold.number == number]
    if not found:
        raise InputError(
            f"Submission {submission} has no fold {number}: it has {len(folds)}, numbered from 0."
        )
    return found
