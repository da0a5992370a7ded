"""Whose events the ledger holds: where they name another site than the configuration does, numbering begins anew.

Laws
- What was told as one site's is never told as another's: both would be billed for it.
- What nobody has acknowledged yet nobody knows: it is written again as the new site's, with the same ids. So a machine may
  count before it is enrolled, under whatever id it has until then.
- Once anything was acknowledged, the other site's events stay behind the new epoch, also those that were still to be sent.
"""

from msgspec import Struct
from sqlite_utils import Database

from agent.ledger.outbox import write_again
from agent.ledger.writer import Ledger
from uplink.events import decode_head

REASON = "site"


class Before(Struct, frozen=True):
    """The site before, and how many of its events are not told as the new one's."""

    site: str
    left: int


def settle(db: Database, ledger: Ledger, site: str) -> Before | None:
    """The site that the newest events are of, where it is another one and so a new epoch was begun."""
    newest = "SELECT body FROM event WHERE epoch = (SELECT max(n) FROM epoch) ORDER BY line DESC LIMIT 1"
    row = db.execute(newest).fetchone()
    before = _site_of(row[0]) if row else site
    if before == site:
        return None
    (told,) = db.execute("SELECT count(*) FROM destination WHERE acked_at_ms > 0").fetchone()
    left = _unacknowledged(db) if told else 0
    last_line = ledger.numbering.line
    ledger.numbering.begin_epoch(REASON, ledger.clock_ms(), first=True)
    write_again(db, ledger, last_line if told else 0, last_line)
    return Before(before, left)


def begins_at(db: Database) -> int:
    """The first epoch that is of the present site."""
    (n,) = db.execute("SELECT coalesce(max(n), 0) FROM epoch WHERE reason = ?", (REASON,)).fetchone()
    return int(n)


def _site_of(body: bytes) -> str:
    return decode_head(body).source.rpartition(":site:")[2]


def _unacknowledged(db: Database) -> int:
    (count,) = db.execute(
        "SELECT coalesce(max((SELECT max(line) FROM event) - after_line - acked_through), 0)"
        " FROM destination JOIN epoch ON epoch.n = destination.epoch WHERE active"
    ).fetchone()
    return int(count)
