"""Events as Apache Parquet. Needs the extra `parquet`.

Laws
- Quantities are exact: a decimal with 18 digits before its point and 12 behind it holds whatever our own meters count
  (`uplink.events.QUANTITY`). An event that says another one is not rounded, it is put aside.
- Times are instants (UTC) in milliseconds, as they are stored.
"""

import io
from collections.abc import Callable, Collection, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
import pyarrow
from pyarrow import parquet as files

from uplink.destinations.file_forms import Form, FormUnreadable
from uplink.events import QUANTITY, EventHead, decode_head, time_ms
from uplink.taker import Event

ROW_GROUP_EVENTS = 100_000
"""The most that one file holds, so each has one row group: what a reader has to unpack at once is one file."""

_TEXT = pyarrow.string()
_INSTANT = pyarrow.timestamp("ms", tz="UTC")
_QUANTITY = pyarrow.decimal128(30, 12)
_ASIDE = frozenset({"quantity", "unit", "corrects", "class", "country"})
"""What has a column of its own, of an event's data."""

Cell = Callable[[Event, EventHead], Any]


def _of_data(key: str) -> Cell:
    return lambda event, _: None if (value := event.data.get(key)) is None else str(value)


def _quantity(event: Event, _: EventHead) -> Decimal | None:
    return Decimal(str(event.data["quantity"])) if "quantity" in event.data else None


def _recorded(_: Event, stored: EventHead) -> int | None:
    return time_ms(stored.recordedtime) if stored.recordedtime else None


def _rest(event: Event, _: EventHead) -> str:
    return msgspec.json.encode({key: value for key, value in event.data.items() if key not in _ASIDE}).decode()


_COLUMNS: tuple[tuple[str, Any, bool, Cell], ...] = (
    ("id", _TEXT, False, lambda event, _: event.id),
    ("time", _INSTANT, False, lambda event, _: event.time_ms),
    ("site", _TEXT, False, lambda event, _: event.source.rpartition(":")[2]),
    ("subject", _TEXT, False, lambda event, _: event.subject),
    ("meter", _TEXT, False, lambda event, _: event.type),
    ("quantity", _QUANTITY, True, _quantity),
    ("unit", _TEXT, True, _of_data("unit")),
    ("corrects", _TEXT, True, _of_data("corrects")),
    ("class", _TEXT, True, _of_data("class")),
    ("country", _TEXT, True, _of_data("country")),
    ("epoch", _TEXT, False, lambda _, stored: stored.epoch),
    ("sequence", pyarrow.int64(), False, lambda _, stored: int(stored.sequence)),
    ("recorded", _INSTANT, True, _recorded),
    ("data", _TEXT, False, _rest),
)
"""Name, type, whether it may be null, and what it is."""
SCHEMA = pyarrow.schema([pyarrow.field(name, kind, nullable) for name, kind, nullable, _ in _COLUMNS])


def parquet(compressed: bool) -> Form:
    codec = "zstd" if compressed else "none"
    return Form(suffix=".parquet", write=partial(_written, codec), ids=_ids, unfit=_unfit)


def _written(codec: str, events: Sequence[Event]) -> bytes:
    rows = [(event, decode_head(event.body)) for event in events]
    columns = [pyarrow.array([cell(*row) for row in rows], kind) for _, kind, _, cell in _COLUMNS]
    written = io.BytesIO()
    table = pyarrow.table(columns, schema=SCHEMA)
    files.write_table(table, written, row_group_size=ROW_GROUP_EVENTS, compression=codec)
    return written.getvalue()


def _ids(content: bytes) -> Collection[str]:
    try:
        file = files.ParquetFile(pyarrow.BufferReader(content))
        if file.metadata.num_rows > ROW_GROUP_EVENTS:
            raise FormUnreadable("this is longer than any file of ours")
        return set(file.read(columns=["id"]).column("id").to_pylist())
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        raise FormUnreadable(f"this is no Parquet of ours: {error}") from None


def _unfit(event: Event) -> str:
    """Why an event cannot be said exactly, or nothing."""
    stored = decode_head(event.body)
    if "quantity" in event.data and not QUANTITY.match(str(event.data["quantity"])):
        return f"quantity {event.data['quantity']!r:.60} is no decimal of 18 digits and 12 behind the point"
    try:
        _recorded(event, stored)
        return "" if abs(int(stored.sequence)) < 2**63 else "its sequence is longer than 64 bits"
    except ValueError as error:
        return str(error)
