"""Who one is, and what the platform consists of."""

import sys
from dataclasses import replace
from urllib.parse import quote

import click

from datarun.client import config
from datarun.client.client import Client, log_in
from datarun.client.errors import Refused

from .output import ClientCommand, Output


@click.command(cls=ClientCommand)
@click.argument("address", required=False)
@click.option("--user", help="Your user name.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option(
    "--token-stdin", is_flag=True, help="Read a token that you have from standard input, make none."
)
@click.option("--name", help="What to call the token; default: after this machine.")
@click.pass_obj
def login(
    output: Output,
    address: str | None,
    user: str | None,
    password_stdin: bool,
    token_stdin: bool,
    name: str | None,
) -> None:
    """Log in to the platform at ADDRESS.

    A token of your own is made and kept in your configuration folder, readable by you only; the password is not kept.
    """
    address = address or click.prompt("Address of the platform", err=True)
    if token_stdin:
        made = config.Login(Client(address, token := sys.stdin.readline().strip()).url, token)
    else:
        user = user or click.prompt("User", err=True)
        password = sys.stdin.readline().rstrip("\r\n") if password_stdin else _ask_password()
        made = log_in(address, user, password, name)
    with Client(made.url, made.token) as client:
        client.service()
        me = client.me()
    file = config.store(replace(made, user=me["username"]))
    output.say(f"Logged in to {made.url} as {me['username']}. The token is kept in {file}.")
    if output.as_json:
        output.show({"url": made.url, **me}, lambda: None)


def _ask_password() -> str:
    return str(click.prompt("Password", hide_input=True, err=True))


@click.command(cls=ClientCommand)
@click.pass_obj
def logout(output: Output) -> None:
    """Revoke the token that login has made, and forget it."""
    known = config.login()
    if known.token_id is not None:
        try:
            output.client.revoke_token(known.token_id)
        except Refused:
            output.say("The platform does not know the token any more.")
    config.forget()
    output.say(f"Logged out of {known.url}.")


@click.command(cls=ClientCommand)
@click.pass_obj
def whoami(output: Output) -> None:
    """Say who you are to which platform."""
    from datarun.client import render

    service, me = output.client.service(), output.client.me()
    output.show(
        {"url": output.client.url, "version": service["version"], **me},
        lambda: render.facts(
            [
                ("platform", f"{output.client.url} (datarun {service['version']})"),
                ("user", me["username"]),
                ("e-mail", me["email"]),
                ("roles", ", ".join(me["roles"])),
            ]
        ),
    )


@click.command(cls=ClientCommand)
@click.pass_obj
def runners(output: Output) -> None:
    """Show the runners and what they do (operators and admins)."""
    from datarun.client import render

    found = output.client.runners()
    output.show(found, lambda: render.runners(found))


@click.command("open", cls=ClientCommand)
@click.argument("submission", type=int, required=False)
@click.option("--dataset", help="Its page instead.")
@click.pass_obj
def open_page(output: Output, submission: int | None, dataset: str | None) -> None:
    """Open the platform's page in a browser, or that of SUBMISSION."""
    url = output.client.url
    if submission is not None:
        url += f"submissions/{submission}/"
    elif dataset is not None:
        url += f"datasets/{quote(dataset, safe='')}/"
    if output.as_json:
        output.show({"url": url}, lambda: None)
    elif click.launch(url):
        click.echo(url)
