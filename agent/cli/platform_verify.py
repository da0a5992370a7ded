"""`pegcount platform verify`: does what the receiver has stored prove itself."""

import sys
from typing import TYPE_CHECKING

import click
import msgspec

from agent.cli.at_store import at_store, store_option
from agent.cli.common import EX_OK, EX_TROUBLE
from uplink.proof import Mismatch
from uplink.receiver.audit import Auditable, Audited, audit
from uplink.receiver.storage import Documents
from uplink.receiver.storage.opening import open_storage

if TYPE_CHECKING:
    from uplink.receiver.audit_log import LogAudited


class _Outcome(msgspec.Struct, frozen=True):
    """`audited`: of the rows; `log`: of a log. Either may be missing."""

    audited: Audited | None = None
    log: "LogAudited | None" = None


@click.command()
@store_option
@click.option("--books", default="", metavar="PATH", help="The database that the log in --store is booked into.")
@click.option("--site", default="", metavar="ID", help="Only this site.")
@click.option("--json", "as_json", is_flag=True, help="The outcome as one JSON object.")
def verify(store: str, books: str, site: str, as_json: bool) -> None:
    """Work every chain, column, count and sum out again from the stored bytes.

    Only reads; the receiver may run meanwhile. Of a log (nats://) each message is opened again; with --books they are verified
    too, and compared with it. Prints how much there is, or the first thing that does not fit: where (site, epoch, number,
    column), what was expected and what was found. Ends with 0 where all fits, with 1 where something does not, and with 74
    where the store cannot be used.
    """
    try:
        outcome = _Outcome(audited=at_store(books, lambda opened: _rows(opened, site))) if books else _Outcome()
        outcome = at_store(store, lambda opened: _audit(opened, books, site, outcome))
    except Mismatch as mismatch:
        told = {"holds": False, "mismatch": mismatch.told()}
        click.echo(msgspec.json.encode(told).decode() if as_json else f"does not hold: {mismatch}")
        sys.exit(EX_TROUBLE)
    told = {"holds": True, "audited": outcome.audited, "log": outcome.log}
    click.echo(msgspec.json.encode(told).decode() if as_json else _in_words(outcome))
    sys.exit(EX_OK)


async def _rows(opened: Documents, site: str) -> Audited:
    if not isinstance(opened, Auditable):
        raise click.UsageError("--books is a database, not a log")
    return await audit(opened, site)


async def _audit(opened: Documents, books: str, site: str, outcome: _Outcome) -> _Outcome:
    if isinstance(opened, Auditable):
        if books:
            raise click.UsageError("--books is for a log (nats://) in --store")
        return _Outcome(audited=await audit(opened, site))
    from uplink.receiver.audit_log import audit_log
    from uplink.receiver.storage.jetstream import JetStreamStore

    assert isinstance(opened, JetStreamStore)
    booked = await open_storage(books) if books else None
    try:
        return _Outcome(audited=outcome.audited, log=await audit_log(opened.log, booked, site))
    finally:
        if booked:
            await booked.close()


def _in_words(outcome: _Outcome) -> str:
    lines = []
    if log := outcome.log:
        waiting = f"; {log.waiting:,} events are not booked yet" if log.waiting else ""
        lines.append(f"log: {log.sites:,} sites, {log.messages:,} messages, {log.events:,} events: all hold{waiting}")
    if audited := outcome.audited:
        lines.append(
            f"{audited.sites:,} sites, {audited.epochs:,} epochs, {audited.events:,} events, {audited.counted:,} of them "
            "counted: all hold"
        )
        if audited.lost:
            lines.append(f"lost, and stated so by their sites: {audited.lost:,} events")
        if audited.outgrown:
            lines.append(f"refused as of an unknown meter, and known today: {audited.outgrown:,} events")
        if audited.busy:
            lines.append(f"sums not compared, for they reported all the while: {', '.join(audited.busy)}")
    return "\n".join(lines)
