"""Batches into the SQLite store, within a transaction that the caller holds.

Laws
- Read, decide, write: the placement is decided on what is stored, in the transaction that then changes it.
- Batches are booked in their order. What they add to sums is written once for all of them, at the end.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache

from msgspec import Struct

from uplink.batch import Head, chain_through
from uplink.events import CHAIN_START
from uplink.receiver.placing import Append, Duplicate, place
from uplink.receiver.screen import Screened
from uplink.receiver.storage import Appended, Exceptional, Incoming
from uplink.receiver.storage.reckoning import COUNTED, Reckoned, exceptional, reckon
from uplink.receiver.storage.totalling import Sums

ROWS_AT_ONCE = 100
"""Events in one statement. It costs a quarter less than one for each, and other threads run meanwhile."""


class _Epoch(Struct, frozen=True):
    """A row of `epoch`; `id` 0 for one that is not there yet. `others_reached_ms`: the latest time that the site's other
    epochs have counted an event of, 0 where it has no other."""

    id: int
    acked_through: int
    chain: bytes
    reached_ms: int
    others_reached_ms: int


def book(db: sqlite3.Connection, batches: Iterable[Incoming]) -> list[Appended]:
    """Store what is new of each batch and say what became of all of it. `db` must know what `totalling.install` teaches."""
    sums = Sums()
    appended = [_book(db, incoming, sums) for incoming in batches]
    sums.add_to(db)
    return appended


def _book(db: sqlite3.Connection, incoming: Incoming, sums: Sums) -> Appended:
    head = incoming.head
    site_id, epoch = _standing(db, incoming.site, head.epoch)
    bodies = [event.body for event in incoming.events]
    placement = place(epoch.acked_through, head, bodies, lambda seq: _chain_at(db, epoch, seq))
    counted = 0
    if isinstance(placement, Append):
        epoch_id = epoch.id or _begin(db, site_id, incoming)
        events = incoming.events[placement.skip :]
        reckoned = reckon(head, events, _known(db, site_id, epoch_id, epoch, events))
        _append(db, epoch_id, epoch, incoming, reckoned)
        sums.note(site_id, reckoned)
        counted = reckoned.counted
        if not placement.skip:
            return _appended(placement, head, counted, [exceptional(*each) for each in reckoned.exemptions])
    elif isinstance(placement, Duplicate):
        epoch_id = epoch.id
    else:
        return Appended(placement=placement, acked_through=epoch.acked_through)
    return _appended(placement, head, counted, _exceptions(db, epoch_id, head))


def _appended(placement: Append | Duplicate, head: Head, counted: int, exceptions: list[Exceptional]) -> Appended:
    return Appended(
        placement=placement, acked_through=max(head.last, head.first - 1), counted=counted, exceptions=exceptions
    )


_STANDING = """
SELECT site.id, own.id, own.acked_through, own.chain, own.reached_ms,
    (SELECT coalesce(max(reached_ms), 0) FROM epoch WHERE site_id = site.id AND name <> :epoch)
FROM site LEFT JOIN epoch AS own ON own.site_id = site.id AND own.name = :epoch WHERE site.name = :site
"""


def _standing(db: sqlite3.Connection, site: str, epoch: str) -> tuple[int, _Epoch]:
    """The site's id, and how the epoch stands."""
    row = db.execute(_STANDING, {"site": site, "epoch": epoch}).fetchone()
    if row is None:
        row = (db.execute("INSERT INTO site (name) VALUES (?)", (site,)).lastrowid, None, 0, CHAIN_START, 0, 0)
    site_id, epoch_id, *_, others_reached_ms = row
    return site_id, _Epoch(*row[1:]) if epoch_id else _Epoch(0, 0, CHAIN_START, 0, others_reached_ms)


def _chain_at(db: sqlite3.Connection, epoch: _Epoch, seq: int) -> bytes:
    """The chain value after `seq`: stored where a batch ended there, else worked out from the end of the one before it."""
    if seq == epoch.acked_through:
        return epoch.chain
    last, chain = db.execute(
        "SELECT last, chain FROM batch WHERE epoch_id = ? AND last <= ? ORDER BY last DESC LIMIT 1", (epoch.id, seq)
    ).fetchone() or (0, CHAIN_START)
    rows = db.execute(
        "SELECT body FROM event WHERE epoch_id = ? AND seq > ? AND seq <= ? ORDER BY seq", (epoch.id, last, seq)
    )
    return chain_through(chain, [body for (body,) in rows])


def _begin(db: sqlite3.Connection, site_id: int, incoming: Incoming) -> int:
    head = incoming.head
    before = db.execute(
        "SELECT chain FROM epoch WHERE site_id = ? AND name = ?", (site_id, head.after_epoch)
    ).fetchone()
    matches = None if not head.after_epoch else int(before is not None and before[0] == head.after_chain)
    row = db.execute(
        "INSERT INTO epoch (site_id, name, acked_through, chain, reached_ms, began_ms, seen_ms, skew_ms,"
        " after_epoch, after_chain, after_matches) VALUES (?, ?, 0, ?, 0, ?, 0, 0, ?, ?, ?) RETURNING id",
        (site_id, head.epoch, CHAIN_START, incoming.now_ms, head.after_epoch, head.after_chain, matches),
    ).fetchone()
    return int(row[0])


@lru_cache(maxsize=ROWS_AT_ONCE)
def _insert(rows: int) -> str:
    columns = "epoch_id, seq, status, id, meter, time_ms, quantity, unit, body"
    return f"INSERT INTO event ({columns}) VALUES {', '.join(['(?, ?, ?, ?, ?, ?, ?, ?, ?)'] * rows)}"


def _append(db: sqlite3.Connection, epoch_id: int, epoch: _Epoch, incoming: Incoming, reckoned: Reckoned) -> None:
    rows = list(zip(reckoned.events, reckoned.statuses, strict=True))
    for first in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[first : first + ROWS_AT_ONCE]
        db.execute(
            _insert(len(some)),
            [
                value
                for of, status in some
                for value in (epoch_id, of.seq, status, of.id, of.meter, of.time_ms, of.quantity, of.unit, of.body)
            ],
        )
    db.executemany(
        "INSERT INTO exception (epoch_id, seq, status, code, message) VALUES (?, ?, ?, ?, ?)",
        [(epoch_id, *exemption) for exemption in reckoned.exemptions],
    )
    _advance(db, epoch_id, epoch, incoming, reckoned)


_KNOWN = f"""
SELECT id FROM event WHERE status = {COUNTED} AND id IN (%s)
    AND epoch_id IN (SELECT id FROM epoch WHERE site_id = ? AND id <> ?)
"""


def _known(
    db: sqlite3.Connection, site_id: int, epoch_id: int, epoch: _Epoch, events: Sequence[Screened]
) -> frozenset[str]:
    """The ids that the site's other epochs have counted. Only for events of the time that those have reached: an epoch that
    has passed it has nothing to say twice."""
    if not epoch.others_reached_ms:
        return frozenset()
    ids = [event.id for event in events if not event.refused and event.time_ms <= epoch.others_reached_ms]
    if not ids:
        return frozenset()
    rows = db.execute(_KNOWN % ",".join("?" * len(ids)), [*ids, site_id, epoch_id])
    return frozenset(row[0] for row in rows)


def _advance(db: sqlite3.Connection, epoch_id: int, epoch: _Epoch, incoming: Incoming, reckoned: Reckoned) -> None:
    head, now_ms = incoming.head, incoming.now_ms
    lost = head.last - epoch.acked_through if head.lost else 0
    db.execute(
        "UPDATE epoch SET acked_through = ?, chain = ?, reached_ms = ?, seen_ms = ?, skew_ms = ?,"
        " counted = counted + ?, known = known + ?, rejected = rejected + ?, lost = lost + ?"
        " WHERE id = ?",
        (
            max(head.last, epoch.acked_through),
            head.chain,
            max(epoch.reached_ms, reckoned.reached_ms),
            now_ms,
            head.head_time_s * 1000 - now_ms,
            reckoned.counted,
            reckoned.known,
            reckoned.rejected,
            lost,
            epoch_id,
        ),
    )
    if head.last > epoch.acked_through:
        db.execute(
            "INSERT INTO batch (epoch_id, last, first, chain, received_ms, lost) VALUES (?, ?, ?, ?, ?, ?)",
            (epoch_id, head.last, epoch.acked_through + 1, head.chain, now_ms, int(lost > 0)),
        )


def _exceptions(db: sqlite3.Connection, epoch_id: int, head: Head) -> list[Exceptional]:
    rows = db.execute(
        "SELECT seq, status, code, message FROM exception WHERE epoch_id = ? AND seq BETWEEN ? AND ? ORDER BY seq",
        (epoch_id, head.first, head.last),
    )
    return [exceptional(*row) for row in rows]
