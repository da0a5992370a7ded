"""What is read from the SQLite store: the statements, for the reader's connection."""

import bisect
import heapq
import itertools
import sqlite3
import sys
from collections.abc import Sequence
from decimal import Decimal

from uplink.feed import Item
from uplink.receiver.storage import (
    EVENTS_MAX_BYTES,
    Booked,
    EpochState,
    HeldRow,
    SitesQuery,
    SiteState,
    StoredEvent,
    Total,
    TotalsQuery,
)
from uplink.receiver.storage.reckoning import COUNTED, by_hour, epoch_states, exact_sum, stored


def epochs(db: sqlite3.Connection, site: str) -> list[EpochState]:
    rows = db.execute(
        "SELECT epoch.name, acked_through, chain, began_ms, seen_ms, skew_ms, after_matches, counted, known, rejected,"
        " lost"
        " FROM epoch JOIN site ON site.id = site_id WHERE site.name = ? ORDER BY epoch.id",
        (site,),
    )
    return epoch_states(rows)


def totals(db: sqlite3.Connection, query: TotalsQuery) -> list[Total]:
    source = "total JOIN site ON site.id = site_id AND site.name = :site" if query.site else "fleet_total"
    rows = db.execute(
        f"SELECT day, meter, unit, events, quantity FROM {source}"
        " WHERE day >= :first AND (:last = '' OR day <= :last) AND (:meter = '' OR meter = :meter)"
        " ORDER BY day, meter, unit",
        {"site": query.site, "first": query.first_day, "last": query.last_day, "meter": query.meter},
    )
    day = query.first_day if query.first_day == query.last_day else ""
    groups: dict[tuple[str, str, str], list[tuple[int, Decimal]]] = {}
    for of_day, meter, unit, events, quantity in rows:
        key = (of_day if query.by_day else day, meter, unit)
        groups.setdefault(key, []).append((events, Decimal(quantity)))
    return [
        Total(
            day=key_day,
            meter=meter,
            unit=unit,
            events=sum(events for events, _ in parts),
            quantity=f"{exact_sum(quantity for _, quantity in parts):f}",
        )
        for (key_day, meter, unit), parts in sorted(groups.items())
    ]


def calls_by_hour(db: sqlite3.Connection, site: str, day: str) -> list[Decimal]:
    rows = db.execute(
        "SELECT hour, quantity FROM call_hour JOIN site ON site.id = site_id WHERE site.name = ? AND day = ?",
        (site, day),
    )
    return by_hour((hour, Decimal(quantity)) for hour, quantity in rows)


_SITES = """
    SELECT picked.name, latest.name, latest.acked_through, latest.skew_ms, began, seen, epochs, broken,
        picked.counted, picked.known, picked.rejected, picked.lost
    FROM (
        SELECT site.name, max(epoch.id) AS latest, min(began_ms) AS began, max(seen_ms) AS seen, count(*) AS epochs,
            sum(after_matches IS NOT 1)
                - coalesce(min(epoch.id) = min(CASE WHEN after_matches IS NULL THEN epoch.id END), 0) AS broken,
            sum(counted) AS counted, sum(known) AS known, sum(rejected) AS rejected, sum(lost) AS lost
        FROM site JOIN epoch ON site_id = site.id
        WHERE site.name > :after AND instr(lower(site.name), lower(:search))
        GROUP BY site.name
        HAVING :silent IS NULL OR seen < :silent OR broken OR sum(lost)
        ORDER BY site.name LIMIT :limit
    ) AS picked JOIN epoch AS latest ON latest.id = picked.latest ORDER BY picked.name
"""
"""Site by site along the index of names, so that a page of 10,000 sites costs no more than one of ten. The first epoch has
nothing to continue, unless it names what the platform never had."""


def sites(db: sqlite3.Connection, query: SitesQuery) -> list[SiteState]:
    rows = db.execute(
        _SITES,
        {"after": query.after, "search": query.search, "silent": query.silent_before_ms, "limit": query.limit},
    )
    return [SiteState(**dict(zip(SiteState.__struct_fields__, row, strict=True))) for row in rows]


def events(db: sqlite3.Connection, site: str, after: int, limit: int) -> list[StoredEvent]:
    """Epoch by epoch along their numbers, in which positions grow: so a page costs the same wherever it is, and there is no
    need of an index by position, which each event would have to be put into."""
    epochs = db.execute(
        "SELECT epoch.id, epoch.name, acked_through FROM epoch JOIN site ON site.id = site_id WHERE site.name = ?",
        (site,),
    ).fetchall()
    parts = [_behind(db, epoch_id, name, acked, after, limit) for epoch_id, name, acked in epochs]
    page: list[StoredEvent] = []
    size = 0
    for row in itertools.islice(heapq.merge(*parts), limit):
        page.append(stored(row))
        size += len(page[-1].body)
        if size >= EVENTS_MAX_BYTES:
            break
    return page


def _behind(db: sqlite3.Connection, epoch_id: int, name: str, acked: int, after: int, limit: int) -> sqlite3.Cursor:
    """The rows of an epoch's events behind position `after`: nothing before it, also of a store that somebody else wrote to,
    or who asks page by page would get the same one for ever."""

    def position(seq: int) -> int:
        row = db.execute(
            "SELECT position FROM event WHERE epoch_id = ? AND seq >= ? ORDER BY seq LIMIT 1", (epoch_id, seq)
        ).fetchone()
        return int(row[0]) if row else sys.maxsize

    passed = bisect.bisect_right(range(1, acked + 1), after, key=position)
    return db.execute(
        "SELECT position, ?, seq, status, body FROM event WHERE epoch_id = ? AND seq > ? AND position > ? ORDER BY seq LIMIT ?",
        (name, epoch_id, passed, after, limit),
    )


def history(db: sqlite3.Connection, site: str, epoch: str, after: int, limit: int) -> list[HeldRow]:
    """An epoch's rows behind number `after`, in the order of their numbers."""
    rows = db.execute(
        "SELECT site.name, event.seq, event.status, event.id, meter, time_ms, quantity, unit, body, exception.status,"
        " coalesce(code, '') FROM event JOIN epoch ON epoch.id = event.epoch_id JOIN site ON site.id = site_id"
        " LEFT JOIN exception ON exception.epoch_id = event.epoch_id AND exception.seq = event.seq"
        " WHERE site.name = ? AND epoch.name = ? AND event.seq > ? ORDER BY event.seq LIMIT ?",
        (site, epoch, after, limit),
    )
    return [HeldRow(*row) for row in rows]


def counted_elsewhere(db: sqlite3.Connection, site: str, epoch: str, ids: Sequence[str]) -> frozenset[str]:
    """Which of these ids another epoch of the site has counted."""
    rows = db.execute(
        f"SELECT event.id FROM event WHERE event.id IN ({','.join('?' * len(ids))}) AND status = {COUNTED} AND epoch_id IN"
        " (SELECT epoch.id FROM epoch JOIN site ON site.id = site_id WHERE site.name = ? AND epoch.name <> ?)",
        (*ids, site, epoch),
    )
    return frozenset(row[0] for row in rows)


def stray(db: sqlite3.Connection) -> int:
    """The position of a row that is of no epoch; 0 where there is none."""
    row = db.execute("SELECT position FROM event WHERE epoch_id NOT IN (SELECT id FROM epoch) LIMIT 1").fetchone()
    return int(row[0]) if row else 0


def batches(db: sqlite3.Connection, site: str, epoch: str, after: int, limit: int) -> list[Booked]:
    rows = db.execute(
        "SELECT first, last, batch.chain, received_ms, batch.lost FROM batch"
        " JOIN epoch ON epoch.id = epoch_id JOIN site ON site.id = site_id"
        " WHERE site.name = ? AND epoch.name = ? AND last > ? ORDER BY last LIMIT ?",
        (site, epoch, after, limit),
    )
    return [
        Booked(first=first, last=last, chain=chain, received_ms=received, lost=bool(lost))
        for first, last, chain, received, lost in rows
    ]


def counted(db: sqlite3.Connection, after: int, limit: int) -> list[Item]:
    rows = db.execute(
        f"SELECT position, body FROM event WHERE position > ? AND status = {COUNTED} ORDER BY position LIMIT ?",
        (after, limit),
    )
    return [Item(position, body) for position, body in rows]


def newest(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT coalesce(max(position), 0) FROM event").fetchone()[0])
