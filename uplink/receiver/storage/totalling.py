"""What a group of batches adds to the sums that the SQLite store keeps: gathered, and added once for all of them.

Law: a sum is exact. Quantities are decimals in texts, which SQLite cannot add: `install` teaches a connection how.
"""

import sqlite3
from collections import defaultdict
from decimal import Decimal

from uplink.receiver.storage.reckoning import Reckoned, exact_sum

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
    return f"{exact_sum((Decimal(one), Decimal(other))):f}"


class Sums:
    """Of a group: by site, over all sites, and of calls by hour."""

    def __init__(self) -> None:
        self._of_sites: dict[tuple[int, str, str, str], list[tuple[int, Decimal]]] = defaultdict(list)
        self._of_all: dict[tuple[str, str, str], list[tuple[int, Decimal]]] = defaultdict(list)
        self._calls: dict[tuple[int, str, int], list[Decimal]] = defaultdict(list)

    def note(self, site_id: int, reckoned: Reckoned) -> None:
        for day, meter, unit, events, quantity in reckoned.sums:
            self._of_sites[site_id, day, meter, unit].append((events, quantity))
            self._of_all[day, meter, unit].append((events, quantity))
        for hour in reckoned.calls:
            self._calls[site_id, hour.day, hour.hour].append(hour.quantity)

    def add_to(self, db: sqlite3.Connection) -> None:
        db.executemany(_TOTAL, [(*key, *_sum(parts)) for key, parts in self._of_sites.items()])
        db.executemany(_FLEET_TOTAL, [(*key, *_sum(parts)) for key, parts in self._of_all.items()])
        db.executemany(_CALL_HOUR, [(*key, f"{exact_sum(parts):f}") for key, parts in self._calls.items()])


def _sum(parts: list[tuple[int, Decimal]]) -> tuple[int, str]:
    return sum(events for events, _ in parts), f"{exact_sum(quantity for _, quantity in parts):f}"
