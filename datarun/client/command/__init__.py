"""The commands of a client, to be added to the `datarun` command. Thin: what they do is `datarun.client`'s."""

import click

from .account import login, logout, open_page, runners, whoami
from .data import data
from .shell import completion
from .submissions import cancel, leaderboard, logs, predictions, rerun, scores, status, submit

COMMANDS: tuple[click.Command, ...] = (
    *(login, logout, whoami, data, submit, status, logs, scores, leaderboard, predictions),
    *(cancel, rerun, runners, open_page, completion),
)

#: For ``datarun --help``, and scripts.
EXIT_CODES = """\b
Exit codes:
  0    it went well
  1    what was watched, checked or replayed ended badly
  2    wrong usage of the command, or files that can't be sent
  3    the platform refused: bad input, the same code again
  4    not logged in, or not allowed
  5    there is none, or none that you may see
  6    no platform: no network, a wrong address, another version, a failure
  7    too often, or more than allowed: later again
  8    not over within --timeout
  130  interrupted"""
