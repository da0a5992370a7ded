"""A row as a store holds it against the row that its bytes give. Pure.

Law: what was refused for a reason that a later version does not know (`GROWING`) is as it should be.
"""

from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from uplink.receiver.screen import Screened
from uplink.receiver.storage import HeldRow
from uplink.receiver.storage.reckoning import COUNTED, REJECTED, STATUS_NAMES

GROWING = frozenset({"unknown_type"})
"""Codes of refusals that a later version may not give any more: the catalogue of meters grows."""


class Row(NamedTuple):
    """An event as it is stored. That of a withheld event has a number and nothing else."""

    seq: int
    status: int
    id: str
    meter: str
    time_ms: int
    quantity: str
    unit: str
    body: bytes


def row_of(event: Screened, status: int) -> Row:
    return Row(event.seq, status, event.id, event.meter, event.time_ms, event.quantity, event.unit, event.body)


class Difference(NamedTuple):
    column: str
    expected: object
    found: object


def difference(row: Row, code: str, held: HeldRow) -> Difference | None:
    """The first column that is another one. `code`: of the exception that `row` should have. The bytes are not compared."""
    columns = (
        Difference("id", row.id, held.id),
        Difference("meter", row.meter, held.meter),
        Difference("time_ms", row.time_ms, held.time_ms),
        Difference("quantity", _decimal(row.quantity), _decimal(held.quantity)),
        Difference("unit", row.unit, held.unit),
        Difference("status", STATUS_NAMES[row.status], STATUS_NAMES.get(held.status, held.status)),
        Difference("exception.status", None if row.status == COUNTED else row.status, held.exempted),
        Difference("exception.code", code, held.code),
    )
    return next((each for each in columns if each.expected != each.found), None)


def _decimal(text: str) -> Decimal | str | None:
    """How many digits it is written with is the store's matter."""
    try:
        return Decimal(text) if text else None
    except InvalidOperation:
        return text


def is_outgrown(held: HeldRow) -> bool:
    return held.status == REJECTED and held.code in GROWING


def is_sound(row: Row, code: str, held: HeldRow | None) -> bool:
    """Whether the row is there, with these bytes, and says what they give. What was withheld has none, and is sound."""
    if held is None:
        return False
    if not held.body or (held.body == row.body and is_outgrown(held)):
        return True
    return held.body == row.body and difference(row, code, held) is None
