"""One batch into the SQLite store, within a transaction that the caller holds.

Laws
- Read, decide, write: the placement is decided on what is stored, in the transaction that then changes it.
"""

import sqlite3
from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct

from uplink.batch import Head, chain_through
from uplink.events import CHAIN_START
from uplink.receiver.placing import Append, Duplicate, place
from uplink.receiver.screen import Screened
from uplink.receiver.storage import Appended, Exceptional, Incoming
from uplink.receiver.storage.reckoning import COUNTED, HourSum, Reckoned, Sum, exact_sum, exceptional, reckon


class _Epoch(Struct, frozen=True):
    """A row of `epoch`; `id` 0 for one that is not there yet."""

    id: int
    acked_through: int
    chain: bytes
    reached_ms: int


def book(db: sqlite3.Connection, incoming: Incoming) -> Appended:
    """Store what is new of a batch and say what became of all of it."""
    site_id = _site(db, incoming.site)
    epoch = _epoch(db, site_id, incoming.head.epoch)
    bodies = [event.body for event in incoming.events]
    placement = place(epoch.acked_through, incoming.head, bodies, lambda seq: _chain_at(db, epoch, seq))
    counted = 0
    if isinstance(placement, Append):
        epoch_id = epoch.id or _begin(db, site_id, incoming)
        counted = _append(db, site_id, epoch_id, epoch, incoming, placement.skip)
    elif isinstance(placement, Duplicate):
        epoch_id = epoch.id
    else:
        return Appended(placement=placement, acked_through=epoch.acked_through)
    return Appended(
        placement=placement,
        acked_through=max(incoming.head.last, incoming.head.first - 1),
        counted=counted,
        exceptions=_exceptions(db, epoch_id, incoming.head),
    )


def _site(db: sqlite3.Connection, name: str) -> int:
    db.execute("INSERT OR IGNORE INTO site (name) VALUES (?)", (name,))
    return int(db.execute("SELECT id FROM site WHERE name = ?", (name,)).fetchone()[0])


def _epoch(db: sqlite3.Connection, site_id: int, name: str) -> _Epoch:
    row = db.execute(
        "SELECT id, acked_through, chain, reached_ms FROM epoch WHERE site_id = ? AND name = ?", (site_id, name)
    ).fetchone()
    return _Epoch(*row) if row else _Epoch(0, 0, CHAIN_START, 0)


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


def _append(db: sqlite3.Connection, site_id: int, epoch_id: int, epoch: _Epoch, incoming: Incoming, skip: int) -> int:
    events = incoming.events[skip:]
    reckoned = reckon(incoming.head, events, _known(db, site_id, epoch_id, events))
    db.executemany(
        "INSERT INTO event (epoch_id, seq, status, id, meter, time_ms, quantity, unit, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(epoch_id, *row) for row in reckoned.rows],
    )
    db.executemany(
        "INSERT INTO exception (epoch_id, seq, status, code, message) VALUES (?, ?, ?, ?, ?)",
        [(epoch_id, *exemption) for exemption in reckoned.exemptions],
    )
    for each in reckoned.sums:
        key: dict[str, int | str] = {"day": each.day, "meter": each.meter, "unit": each.unit}
        _add_total(db, "total", {"site_id": site_id, **key}, each)
        _add_total(db, "fleet_total", key, each)
    for hour in reckoned.calls:
        _add_calls(db, site_id, hour)
    _advance(db, epoch_id, epoch, incoming, reckoned)
    return reckoned.counted


def _known(db: sqlite3.Connection, site_id: int, epoch_id: int, events: list[Screened]) -> frozenset[str]:
    """The ids that the site's other epochs have counted. Only for events of the time that those have reached: an epoch that
    has passed it has nothing to say twice."""
    others = db.execute(
        "SELECT id, reached_ms FROM epoch WHERE site_id = ? AND id <> ?", (site_id, epoch_id)
    ).fetchall()
    reached_ms = max((reached for _, reached in others), default=0)
    ids = [event.id for event in events if not event.refused and event.time_ms <= reached_ms]
    if not ids:
        return frozenset()
    rows = db.execute(
        f"SELECT id FROM event WHERE id IN ({_marks(ids)}) AND status = {COUNTED} AND epoch_id IN ({_marks(others)})",
        [*ids, *(other for other, _ in others)],
    )
    return frozenset(row[0] for row in rows)


def _marks(values: Iterable[object]) -> str:
    return ",".join("?" for _ in values)


def _add_total(db: sqlite3.Connection, table: str, key: dict[str, int | str], each: Sum) -> None:
    values = tuple(key.values())
    found = db.execute(
        f"SELECT events, quantity FROM {table} WHERE {' AND '.join(f'{column} = ?' for column in key)}", values
    ).fetchone()
    events, quantity = found or (0, "0")
    total = exact_sum([Decimal(quantity), each.quantity])
    db.execute(
        f"INSERT OR REPLACE INTO {table} ({', '.join(key)}, events, quantity) VALUES ({_marks(key)}, ?, ?)",
        (*values, events + each.events, f"{total:f}"),
    )


def _add_calls(db: sqlite3.Connection, site_id: int, each: HourSum) -> None:
    key = site_id, each.day, each.hour
    found = db.execute("SELECT quantity FROM call_hour WHERE site_id = ? AND day = ? AND hour = ?", key).fetchone()
    quantity = exact_sum([Decimal(found[0]), each.quantity]) if found else each.quantity
    db.execute(
        "INSERT OR REPLACE INTO call_hour (site_id, day, hour, quantity) VALUES (?, ?, ?, ?)", (*key, f"{quantity:f}")
    )


def _advance(db: sqlite3.Connection, epoch_id: int, epoch: _Epoch, incoming: Incoming, reckoned: Reckoned) -> None:
    head, now_ms = incoming.head, incoming.now_ms
    db.execute(
        "UPDATE epoch SET acked_through = ?, chain = ?, reached_ms = ?, seen_ms = ?, skew_ms = ?,"
        " counted = counted + ?, known = known + ?, rejected = rejected + ? WHERE id = ?",
        (
            max(head.last, epoch.acked_through),
            head.chain,
            max(epoch.reached_ms, reckoned.reached_ms),
            now_ms,
            head.head_time_s * 1000 - now_ms,
            reckoned.counted,
            reckoned.known,
            reckoned.rejected,
            epoch_id,
        ),
    )
    if head.last > epoch.acked_through:
        db.execute(
            "INSERT INTO batch (epoch_id, last, first, chain, received_ms) VALUES (?, ?, ?, ?, ?)",
            (epoch_id, head.last, epoch.acked_through + 1, head.chain, now_ms),
        )


def _exceptions(db: sqlite3.Connection, epoch_id: int, head: Head) -> list[Exceptional]:
    rows = db.execute(
        "SELECT seq, status, code, message FROM exception WHERE epoch_id = ? AND seq BETWEEN ? AND ? ORDER BY seq",
        (epoch_id, head.first, head.last),
    )
    return [exceptional(*row) for row in rows]
