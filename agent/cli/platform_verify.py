"""`pegcount platform verify`: does what the receiver has stored prove itself."""

import sys

import click
import msgspec

from agent.cli.at_store import at_store, store_option
from agent.cli.common import EX_OK, EX_TROUBLE
from uplink.proof import Mismatch
from uplink.receiver.audit import Auditable, Audited, audit
from uplink.receiver.storage import Documents


@click.command()
@store_option
@click.option("--site", default="", metavar="ID", help="Only this site.")
@click.option("--json", "as_json", is_flag=True, help="The outcome as one JSON object.")
def verify(store: str, site: str, as_json: bool) -> None:
    """Work every chain, every count and every sum out again from the stored bytes.

    Only reads; the receiver may run meanwhile. Prints how much there is, or the first thing that does not fit: where, what was
    expected and what was found. Ends with 0 where all fits, with 1 where something does not, and with 74 where the store
    cannot be used.
    """
    try:
        audited = at_store(store, lambda opened: _audit(opened, site))
    except Mismatch as mismatch:
        told = {"holds": False, "mismatch": mismatch.told()}
        click.echo(msgspec.json.encode(told).decode() if as_json else f"does not hold: {mismatch}")
        sys.exit(EX_TROUBLE)
    click.echo(msgspec.json.encode({"holds": True, "audited": audited}).decode() if as_json else _in_words(audited))
    sys.exit(EX_OK)


async def _audit(opened: Documents, site: str) -> Audited:
    if not isinstance(opened, Auditable):
        raise click.UsageError("this store is a log: verify the database that it is consumed into")
    return await audit(opened, site)


def _in_words(audited: Audited) -> str:
    text = (
        f"{audited.sites:,} sites, {audited.epochs:,} epochs, {audited.events:,} events, {audited.counted:,} of them "
        "counted: all hold"
    )
    if audited.busy:
        text += f"\nsums not compared, for they reported all the while: {', '.join(audited.busy)}"
    return text
