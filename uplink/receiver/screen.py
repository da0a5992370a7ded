"""Is an event one that can be counted? Pure: the stored bytes -> what the store needs of them, or why not.

Laws
- An event that fails is refused alone: its bytes are kept, its number is used, and what follows is not held up.
- What is counted is an exact decimal, has a time of its own and stands at the place that it names.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache

import msgspec
from msgspec import Struct

from uplink.batch import EVENT_MAX_BYTES
from uplink.events import QUANTITY, EventHead, decode_head

METERS = frozenset(
    {
        "call",
        "voice.minutes",
        "seat.day",
        "seat.month",
        "feature.use",
        "fax.pages",
        "storage.gb_hours",
        "channel.hours",
        "conference.minutes",
        "queue.agent_hours",
        "media.gb",
        "number.day",
        "app.use",
        "download",
        "message",
        "purchase",
        "subscription.day",
    }
)
"""The catalogue of meters. Beside them every `risk.*` is taken, which is shown and not billed."""
ID_MAX_CHARS = 128
NAME_MAX_CHARS = 64
"""A `risk.*` meter or a unit; those of the catalogue have up to 20."""
LATE_MS = 35 * 86_400_000
"""What other platforms take at most. Here older events are counted as well, and the answer says that they came late."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)


class Screened(Struct, frozen=True, kw_only=True, gc=False):
    """One event of a batch. `refused` is a code, or empty; then the other fields are what is counted. `day` is UTC."""

    seq: int
    body: bytes
    id: str = ""
    meter: str = ""
    time_ms: int = 0
    day: str = ""
    quantity: str = ""
    unit: str = ""
    refused: str = ""
    message: str = ""


class Place(Struct, frozen=True):
    """Where a batch says that its events stand: they must say the same."""

    site: str
    epoch: str


def screen(place: Place, first: int, bodies: list[bytes]) -> list[Screened]:
    return [_screen(place, seq, body) for seq, body in enumerate(bodies, first)]


def _screen(place: Place, seq: int, body: bytes) -> Screened:
    try:
        return _counted(place, seq, body)
    except _Refused as refused:
        return Screened(seq=seq, body=body, refused=refused.code, message=str(refused)[:300])


class _Refused(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _counted(place: Place, seq: int, body: bytes) -> Screened:
    head = _head(body)
    _check_place(place, seq, head)
    if head.type not in METERS and not (head.type.startswith("risk.") and _is_text(head.type, NAME_MAX_CHARS)):
        raise _Refused("unknown_type", f"{head.type[:64]!r} is no meter")
    if not _is_text(head.id, ID_MAX_CHARS):
        raise _Refused("bad_id", f"an id has 1 to {ID_MAX_CHARS} characters, no NUL among them")
    quantity, unit = head.data.get("quantity"), head.data.get("unit")
    if not isinstance(quantity, str) or not QUANTITY.match(quantity):
        raise _Refused("bad_quantity", "data.quantity must be a string that is an exact decimal")
    if not isinstance(unit, str) or not _is_text(unit, NAME_MAX_CHARS):
        raise _Refused("bad_unit", f"data.unit must be a string of 1 to {NAME_MAX_CHARS} characters, no NUL among them")
    time_ms, day = _time(head.time)
    return Screened(
        seq=seq,
        body=body,
        id=head.id,
        meter=head.type,
        time_ms=time_ms,
        day=day,
        quantity=quantity,
        unit=unit,
    )


def _is_text(text: str, max_chars: int) -> bool:
    """Databases have indexes whose entries are bounded, and texts that cannot hold NUL (PostgreSQL, 8.3): an event that one of
    them could never store would hold up all that follows it."""
    return 0 < len(text) <= max_chars and "\0" not in text


def _head(body: bytes) -> EventHead:
    if len(body) > EVENT_MAX_BYTES:
        raise _Refused("too_large", f"{len(body)} bytes are more than {EVENT_MAX_BYTES}")
    try:
        return decode_head(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _Refused("not_an_event", str(error)) from None


def _check_place(place: Place, seq: int, head: EventHead) -> None:
    if head.specversion != "1.0":
        raise _Refused("bad_specversion", f"specversion {head.specversion[:16]!r} is not '1.0'")
    if not head.source.endswith(f":site:{place.site}"):
        raise _Refused("wrong_source", "source is not the URN of this site")
    if head.epoch != place.epoch or head.sequence != str(seq):
        raise _Refused(
            "wrong_place", f"the event says {head.epoch[:64]!r}/{head.sequence[:32]!r}, the batch {place.epoch}/{seq}"
        )


@lru_cache(maxsize=4096)
def _time(text: str) -> tuple[int, str]:
    """RFC 3339 -> milliseconds and the UTC day. Events of one call say the same time."""
    if not _TIME.match(text):
        raise _Refused("bad_time", f"{text[:40]!r} is no RFC 3339 time")
    try:
        at = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _Refused("bad_time", str(error)) from None
    return round(at.timestamp() * 1000), at.date().isoformat()
