"""The `datarun` command. Each command imports what it needs when it is called: a client has no runner."""

import sys

import click

from datarun import __version__, trial
from datarun.client.command import COMMANDS, EXIT_CODES


@click.group(epilog=EXIT_CODES)
@click.version_option(__version__, package_name="datarun")
def main() -> None:
    """Train and test machine-learning submissions on cross-validation folds."""


for command in (*COMMANDS, trial.check, trial.replay):
    main.add_command(command)


@main.group()
def runner() -> None:
    """What concerns this machine as a runner."""


@runner.command()
def check() -> None:
    """Say what keeps submissions in on this machine; fails if they could get out."""
    try:
        from datarun.runner.sandbox.probe import protections
    except ImportError as error:
        raise click.ClickException(f"{error.name} is missing: pip install 'datarun[runner]'.") from error

    found = protections()
    for protection in found:
        state = "in force" if protection.in_force else "MISSING" if protection.needed else "not here"
        click.echo(f"{protection.name:14} {state:9} {protection.text}")
    missing = [protection.name for protection in found if protection.needed and not protection.in_force]
    if missing:
        click.echo(
            f"Submissions could get out ({', '.join(missing)}): a runner starts here only with --trust-submissions."
        )
        sys.exit(1)
    click.echo("Submissions are kept in: a runner can start here.")


if __name__ == "__main__":
    main()
