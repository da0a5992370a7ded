"""Seat-days: which seat was active or registered on which local day, at which level, and the events that say so.

Counts of uses are kept per seat and day, so that a correction of a call takes back exactly what the call had given.
"""

from collections.abc import Iterable
from functools import lru_cache

import msgspec
from sqlite_utils import Database

from agent.ledger.store import insert
from agent.metering.charge import SeatUse
from agent.metering.corrections import SeatDay, book_seat_day
from agent.metering.days import day_bounds
from agent.metering.meter import Meter
from uplink.events import MicroTransaction

CACHED_SEAT_DAYS = 20_000
"""About 10 MB: two days of a site of ten thousand seats. Beyond it the table is read."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SeatDay).decode


class Seats:
    """The writing end of the table `seat_day`."""

    def __init__(self, db: Database, meter: Meter) -> None:
        self._db = db
        self._meter = meter
        self._known: dict[tuple[str, str], SeatDay] = {}
        self._changes: dict[SeatUse, int] = {}
        self._level = lru_cache(maxsize=4096)(meter.level)

    def forget(self) -> None:
        self._known.clear()
        self._changes.clear()

    def change(self, gained: Iterable[SeatUse], lost: Iterable[SeatUse]) -> None:
        """Only counted here: a busy seat has many equal uses in one transaction, which `flush` then applies at once."""
        changes = self._changes
        for use in gained:
            changes[use] = changes.get(use, 0) + 1
        for use in lost:
            changes[use] = changes.get(use, 0) - 1

    def _apply_changes(self) -> set[tuple[str, str]]:
        """Returns the days and seats that were touched since the last flush."""
        touched = set()
        for use, by in self._changes.items():
            place = (use.day, use.seat)
            state = self._known.get(place) or self._load(place)
            self._known[place] = state.changed(use, by)
            touched.add(place)
        self._changes.clear()
        return touched

    def _load(self, place: tuple[str, str]) -> SeatDay:
        row = self._db.execute("SELECT state FROM seat_day WHERE day = ? AND seat = ?", place).fetchone()
        return _decode(row[0]) if row else SeatDay()

    def flush(self) -> list[MicroTransaction]:
        """Write the seats touched since the last flush; returns the events that their new state asks for."""
        events: list[MicroTransaction] = []
        rows = []
        for day, seat in sorted(self._apply_changes()):
            made, state = self._book(day, seat, self._known[day, seat])
            events += made
            self._known[day, seat] = state
            rows.append((day, seat, _encode(state)))
        again = "ON CONFLICT (day, seat) DO UPDATE SET state = excluded.state"
        insert(self._db.conn, "INSERT INTO seat_day (day, seat, state)", rows, again)
        if len(self._known) > CACHED_SEAT_DAYS:
            self._known.clear()
        return events

    def _book(self, day: str, seat: str, state: SeatDay) -> tuple[list[MicroTransaction], SeatDay]:
        counts = self._meter.seat_counts(state.registered > 0, state.active > 0)
        level = self._level(tuple(sorted(state.used()))) if counts else None
        start_ms = day_bounds(day, self._meter.site.timezone)[0]
        return book_seat_day(self._meter.site.id, seat, day, start_ms, state, level)
