"""`pegcount platform key`: the keys by which the platform signs receipts."""

import sys

import click

from agent.cli.at_store import at_store, day_of, store_option
from agent.cli.common import EX_TROUBLE
from uplink.receiver.platform_key import Kept, TooManyKeys, rotate, standing
from uplink.receiver.storage import Documents
from uplink.uploader import wall_clock_ms


@click.group()
def key() -> None:
    """The keys by which the platform signs receipts."""


@key.command("list")
@store_option
def list_keys(store: str) -> None:
    """Print each key's id, the day on which it was made, and until when it was in use; the one in use first."""
    kept = at_store(store, lambda documents: standing(documents, wall_clock_ms()))
    click.echo("\t".join((kept.public.key, day_of(kept.made_ms), "in use")))
    for past in kept.past:
        click.echo("\t".join((past.key.key, day_of(past.made_ms), f"until {day_of(past.until_ms)}")))


@key.command("rotate")
@store_option
@click.option(
    "--disown",
    is_flag=True,
    help="Somebody else may have the old one: it introduces nothing, and machines take receipts by the new one only after they"
    " were enrolled again.",
)
def rotate_key(store: str, disown: bool) -> None:
    """Make another key, and print its id. Receivers sign by it within seconds, and agents know it by the old one's word."""

    async def change(documents: Documents) -> Kept:
        return await rotate(documents, wall_clock_ms(), disown)

    try:
        click.echo(at_store(store, change).public.key)
    except TooManyKeys as error:
        click.echo(f"pegcount platform: {error}", err=True)
        sys.exit(EX_TROUBLE)
