"""What a group of batches adds to the sums that the SQLite store keeps: gathered, and added once for all of them.

Law: a sum is exact. Quantities are decimals in texts, which SQLite cannot add: `install` teaches a connection how.
"""

import sqlite3
from decimal import Decimal
from typing import TypeVar

from uplink.receiver.storage.reckoning import Reckoned, exact_add

_Key = TypeVar("_Key", bound=tuple[object, ...])

_ADD = "exact_add"
_TOTAL = f"""
INSERT INTO total (site_id, day, meter, unit, events, quantity) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET events = events + excluded.events, quantity = {_ADD}(quantity, excluded.quantity)
"""
_FLEET_TOTAL = f"""
INSERT INTO fleet_total (day, meter, unit, events, quantity) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET events = events + excluded.events, quantity = {_ADD}(quantity, excluded.quantity)
"""
_CALL_HOUR = f"""
INSERT INTO call_hour (site_id, day, hour, quantity) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET quantity = {_ADD}(quantity, excluded.quantity)
"""


def install(db: sqlite3.Connection) -> None:
    """What `Sums.add_to` needs of a connection."""
    db.create_function(_ADD, 2, _added, deterministic=True)


def _added(one: str, other: str) -> str:
    return f"{exact_add(Decimal(one), Decimal(other)):f}"


class Sums:
    """Of a group: by site, over all sites, and of calls by hour."""

    def __init__(self) -> None:
        self._of_sites: dict[tuple[int, str, str, str], tuple[int, Decimal]] = {}
        self._of_all: dict[tuple[str, str, str], tuple[int, Decimal]] = {}
        self._calls: dict[tuple[int, str, int], Decimal] = {}

    def note(self, site_id: int, reckoned: Reckoned) -> None:
        for day, meter, unit, events, quantity in reckoned.sums:
            _add(self._of_sites, (site_id, day, meter, unit), events, quantity)
            _add(self._of_all, (day, meter, unit), events, quantity)
        for day, hour, quantity in reckoned.calls:
            before = self._calls.get((site_id, day, hour))
            self._calls[site_id, day, hour] = quantity if before is None else exact_add(before, quantity)

    def add_to(self, db: sqlite3.Connection) -> None:
        db.executemany(_TOTAL, [(*key, events, f"{total:f}") for key, (events, total) in self._of_sites.items()])
        db.executemany(_FLEET_TOTAL, [(*key, events, f"{total:f}") for key, (events, total) in self._of_all.items()])
        db.executemany(_CALL_HOUR, [(*key, f"{total:f}") for key, total in self._calls.items()])


def _add(sums: dict[_Key, tuple[int, Decimal]], key: _Key, events: int, quantity: Decimal) -> None:
    before = sums.get(key)
    sums[key] = (before[0] + events, exact_add(before[1], quantity)) if before else (events, quantity)
