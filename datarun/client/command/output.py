"""What all commands share: ``--json``, one sentence for each error, and exit codes that scripts can use."""

import json
from collections.abc import Callable
from typing import Any

import click

from datarun.client import errors
from datarun.client.client import Client

#: Exit codes of errors, the more special ones first.
_CODES: tuple[tuple[type[Exception], int], ...] = (
    (errors.WaitedTooLong, 8),
    (errors.TryLater, 7),
    (errors.NotFound, 5),
    (errors.NotLoggedIn, 4),
    (errors.Forbidden, 4),
    (errors.ConfigError, 4),
    (errors.Refused, 3),
    (errors.InputError, 2),
    (errors.DatarunError, 6),
)
ENDED_BADLY = 1
_WIDE = 200
INTERRUPTED = 130


class Output:
    """Where a command's results go: tables for people, or JSON."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The platform that the user is logged in to."""
        if self._client is None:
            self._client = Client()
        return self._client

    @property
    def console(self) -> Any:
        """rich's, on standard output."""
        from rich.console import Console

        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = _WIDE  # whatever reads it can cut lines itself
        return console

    @property
    def messages(self) -> Any:
        """rich's, on standard error."""
        from rich.console import Console

        return Console(stderr=True, highlight=False)

    def show(self, data: Any, shown: Callable[[], Any]) -> None:
        """The data as JSON, or what people see of them: text as it is, what rich draws, or a list of both."""
        if self.as_json:
            click.echo(json.dumps(data, indent=2))
            return
        seen = shown()
        for each in seen if isinstance(seen, list) else [seen]:
            if isinstance(each, str):
                click.echo(each)
            else:
                self.console.print(each)

    def say(self, text: str) -> None:
        """To people only."""
        if not self.as_json:
            self.messages.print(text, markup=False, soft_wrap=True)

    def error(self, error: Exception) -> int:
        """Reports the error; returns the exit code."""
        code = next((code for kind, code in _CODES if isinstance(error, kind)), 6)
        if self.as_json:
            known = dict(error.problem) if isinstance(error, errors.Refused) else {}
            told = {"kind": type(error).__name__, "message": str(error), "exit_code": code, "problem": known}
            click.echo(json.dumps({"error": told}), err=True)
        else:
            self.messages.print(f"datarun: {error}", style="red", markup=False, soft_wrap=True)
        return code


class ClientCommand(click.Command):
    """A command with ``--json`` whose object is an `Output`, and which ends with the exit code of what went wrong."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(click.Option(["--json", "as_json"], is_flag=True, help="Print JSON, for scripts."))

    def invoke(self, ctx: click.Context) -> Any:
        ctx.obj = output = Output(ctx.params.pop("as_json"))
        try:
            return super().invoke(ctx)
        except errors.DatarunError as error:
            ctx.exit(output.error(error))
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


def bytes_bar(output: Output, what: str) -> "_BytesBar":
    """A context whose value is told how many bytes have gone up, and shows it."""
    return _BytesBar(output, what)


class _BytesBar:
    """A bar from the first time that it is told something."""

    def __init__(self, output: Output, what: str) -> None:
        self._output, self._what = output, what
        self._bar: Any = None

    def __enter__(self) -> Callable[[int, int], None]:
        return self._told

    def _told(self, done: int, total: int) -> None:
        if self._bar is None:
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            console = self._output.messages
            hidden = self._output.as_json or not console.is_terminal
            self._bar = Progress(*columns, console=console, disable=hidden, transient=True)
            self._bar.add_task(self._what, total=total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done, total=total)

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
