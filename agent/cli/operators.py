"""`pegcount platform operator`: who may log in to the fleet page.

Law: a password is asked for without showing it, or read from a file; it is never an argument, which others on the machine see.
"""

import sys
from pathlib import Path

import click
import msgspec

from agent.cli.at_store import all_of, at_store, check_done, day_of, store_option
from agent.cli.common import EX_CONFIG, in_words
from uplink.receiver.fleet import operators
from uplink.receiver.fleet.operators import ROLES, Operator, Password
from uplink.receiver.storage import Documents
from uplink.uploader import wall_clock_ms


def _name(_context: click.Context, _param: click.Parameter, value: str) -> str:
    try:
        return operators.check_name(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


name_argument = click.argument("name", callback=_name)
password_option = click.option(
    "--password-file", default="", metavar="PATH", help="A file with the password, instead of being asked for it."
)


@click.group()
def operator() -> None:
    """People who log in to the fleet page."""


@operator.command("add")
@store_option
@click.option(
    "--role",
    default="viewer",
    show_default=True,
    type=click.Choice(ROLES),
    help="A viewer sees everything; an admin also names sites, asks them to send again, and changes keys.",
)
@password_option
@name_argument
def add_operator(store: str, role: operators.Role, password_file: str, name: str) -> None:
    """Let NAME log in, with a password of at least 12 characters."""
    made = Operator(name=name, role=role, password=_password(password_file), changed_ms=wall_clock_ms())
    check_done(at_store(store, lambda documents: operators.save(documents, made, 0)), f"there is an operator {name}")


@operator.command("list")
@store_option
def list_operators(store: str) -> None:
    """Print each operator's name, role and day of the last change."""
    for document in at_store(store, lambda documents: all_of(documents, operators.KIND)):
        kept = msgspec.json.decode(document.body, type=Operator)
        click.echo("\t".join((kept.name, kept.role, day_of(kept.changed_ms))))


@operator.command("password")
@store_option
@password_option
@name_argument
def change_password(store: str, password_file: str, name: str) -> None:
    """Give an operator a new password. Ends the operator's sessions."""
    password = _password(password_file)

    async def change(documents: Documents) -> bool:
        found = await operators.find(documents, name)
        if found is None:
            return False
        changed = msgspec.structs.replace(found[0], password=password, changed_ms=wall_clock_ms())
        return await operators.save(documents, changed, found[1])

    check_done(at_store(store, change), f"there is no operator {name}")


@operator.command("remove")
@store_option
@name_argument
def remove_operator(store: str, name: str) -> None:
    """Let an operator log in no more. Ends the operator's sessions."""
    check_done(
        at_store(store, lambda documents: documents.delete(operators.KIND, name)), f"there is no operator {name}"
    )


def _password(file: str) -> Password:
    """Ends with 78 where it is none."""
    try:
        if file:
            return operators.hashed(Path(file).read_text("utf-8").rstrip("\r\n"))
        return operators.hashed(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    except (OSError, ValueError) as error:
        click.echo(f"pegcount platform: {in_words(error)}", err=True)
        sys.exit(EX_CONFIG)
