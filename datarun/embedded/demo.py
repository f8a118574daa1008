"""The demo: posts three small data sets, submits to each twice, shows scores and a leaderboard of each.

It is a client like any other: it speaks to the web as `datarun.Client` does and touches nothing else.
"""

import logging
import time

from rich.console import Console

from datarun.client import Client, DatarunError, Dataset, Refused, Submission, render

from .platform import CHECKOUT

_FILES = CHECKOUT / "test_files"
_USER = "demo"
_EXAMPLES = ("iris", "diabetes", "digits")
#: Name → folder in the example's own.
_SUBMISSIONS = {"first": ".", "other": "other"}
_TIMEOUT = 300.0  # seconds for everything
_LOOK = 0.3  # seconds between two looks at a leaderboard
_WIDTH = 120  # columns, where the output is no terminal


class DemoError(Exception):
    """The platform answered what a demo doesn't expect; says what."""


def run(url: str) -> bool:
    """Runs the demo against the platform at `url`; returns whether every fold was scored and all is on leaderboards."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    until = time.monotonic() + _TIMEOUT
    try:
        with Client(url, _token()) as client:
            data_sets = {name: _posted(client, name) for name in _EXAMPLES}
            submissions = [
                _submitted(data_set, example, name)
                for example, data_set in data_sets.items()
                for name in _SUBMISSIONS
            ]
            for submission in submissions:
                submission.wait(until - time.monotonic(), progress=True, console=console)
            scored = all(submission.state == "scored" for submission in submissions)
            whole = [_show_leaderboard(each, submissions, console, until) for each in data_sets.values()]
    except DatarunError as error:
        raise DemoError(str(error)) from error
    return scored and all(whole)


def _token() -> str:
    """A token of the demo's own user, an organiser, for a day."""
    from django.contrib.auth.models import User
    from django.db import connection

    from runapp.services import roles, tokens

    user, _ = User.objects.get_or_create(username=_USER)
    roles.give(user, roles.Role.ORGANISER)
    text = tokens.create(user, "bin/up --demo", days=1).text
    connection.close()
    return text


def _posted(client: Client, example: str) -> Dataset:
    """The example's data set, posted unless an earlier demo has."""
    name = f"demo {example}"
    try:
        return client.push(_FILES / example, name=name)
    except Refused:
        return client.dataset(name)


def _submitted(data_set: Dataset, example: str, name: str) -> Submission:
    folder = _FILES / example / _SUBMISSIONS[name]
    return data_set.submit([folder / f"{element}.py" for element in data_set.elements], name=name, force=True)


def _show_leaderboard(
    data_set: Dataset, submissions: list[Submission], console: Console, until: float
) -> bool:
    """Shows it once what was submitted is bagged and blended, or the time is up; returns whether it is."""
    ids, metric = {each.id for each in submissions}, data_set.metrics[0]["name"]
    while True:
        board = data_set.leaderboard_page()
        rows = [row for row in board["results"] if row["id"] in ids]
        bagged = [row["scores"].get("valid", {}).get(metric, {}).get("bagged") for row in rows]
        whole = None not in (*bagged, *(row["contributivity"] for row in rows))
        if whole or time.monotonic() > until:
            break
        time.sleep(_LOOK)
    console.print(f"\nLeaderboard of {data_set.name}", markup=False)
    console.print(render.leaderboard(board, metric, console.width))
    return whole
