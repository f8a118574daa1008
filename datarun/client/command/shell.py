"""Completion of commands and options in shells."""

import click
from click.shell_completion import get_completion_class

from .output import ENDED_BADLY


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete this command.

    For bash: eval "$(datarun completion bash)" in ~/.bashrc.
    """
    root = ctx.find_root()
    found = get_completion_class(shell)
    if found is None:
        ctx.exit(ENDED_BADLY)
    click.echo(found(root.command, {}, root.info_name or "datarun", "_DATARUN_COMPLETE").source())
