"""Is an event one that can be counted? Pure: the stored bytes -> what the store needs of them, or why not.

Laws
- An event that fails is refused alone: its bytes are kept, its number is used, and what follows is not held up.
- What is counted is an exact decimal, has a time of its own and stands at the place that it names.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

import msgspec
from msgspec import Struct

from uplink.batch import EVENT_MAX_BYTES
from uplink.events import QUANTITY

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


class Screened(Struct, frozen=True, gc=False):
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


class _Consumed(Struct, gc=False):
    quantity: str
    unit: str


class _Event(Struct, gc=False):
    """What is looked at of an event. What else it has is passed over, which takes a fourth of the time of keeping it."""

    specversion: str
    id: str
    source: str
    type: str
    time: str
    epoch: str
    sequence: str
    data: _Consumed
    subject: str = ""
    recordedtime: str = ""


class _Doubtful(Struct, gc=False):
    """The same, with whatever stands as its data."""

    specversion: str
    id: str
    source: str
    type: str
    time: str
    epoch: str
    sequence: str
    data: dict[str, msgspec.Raw] = {}
    subject: str = ""
    recordedtime: str = ""


_events = msgspec.json.Decoder(list[_Event]).decode
_doubtful = msgspec.json.Decoder(_Doubtful).decode
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


def screen(place: Place, first: int, bodies: Sequence[bytes]) -> list[Screened]:
    """`bodies`: JSON values, the first of which stands at `first`."""
    return _sound(place, first, bodies) or [_screen(place, seq, body) for seq, body in enumerate(bodies, first)]


def _sound(place: Place, first: int, bodies: Sequence[bytes]) -> list[Screened]:
    """All of them, if there is nothing to be said against any: by columns, each different value once. Else nothing. The rules
    are those of `_counted`, at a third of the cost."""
    try:
        events = _events(_as_text(b"[" + b",".join(bodies) + b"]"))
        times = {text: _time(text) for text in {event.time for event in events}}
    except (_Refused, *_UNREADABLE):
        return []
    ids, types = [event.id for event in events], [event.type for event in events]
    quantities, units = [event.data.quantity for event in events], [event.data.unit for event in events]
    sound = (
        {event.specversion for event in events} == {"1.0"}
        and {event.epoch for event in events} == {place.epoch}
        and [event.sequence for event in events] == [str(seq) for seq in range(first, first + len(bodies))]
        and all(_is_of(place.site, source) for source in {event.source for event in events})
        and all(_is_meter(each) for each in set(types))
        and all(QUANTITY.match(each) for each in set(quantities))
        and all(_is_text(each, NAME_MAX_CHARS) for each in set(units))
        and all(ids)
        and max(map(len, ids)) <= ID_MAX_CHARS
        and "\0" not in "".join(ids)
        and max(map(len, bodies)) <= EVENT_MAX_BYTES
    )
    if not sound:
        return []
    instants, days = zip(*[times[event.time] for event in events], strict=True)
    return list(map(Screened, range(first, first + len(bodies)), bodies, ids, types, instants, days, quantities, units))


def _as_text(json: bytes) -> bytes:
    """What is not kept is not decoded either. Raises UnicodeDecodeError."""
    if not json.isascii():
        json.decode()
    return json


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
    event = _read(body)
    if event.specversion != "1.0":
        raise _Refused("bad_specversion", f"specversion {event.specversion[:16]!r} is not '1.0'")
    if not _is_of(place.site, event.source):
        raise _Refused("wrong_source", "source is not the URN of this site")
    if event.epoch != place.epoch or event.sequence != str(seq):
        raise _Refused(
            "wrong_place", f"the event says {event.epoch[:64]!r}/{event.sequence[:32]!r}, the batch {place.epoch}/{seq}"
        )
    if not _is_meter(event.type):
        raise _Refused("unknown_type", f"{event.type[:64]!r} is no meter")
    if not _is_text(event.id, ID_MAX_CHARS):
        raise _Refused("bad_id", f"an id has 1 to {ID_MAX_CHARS} characters, no NUL among them")
    quantity, unit = _text(event.data.get("quantity")), _text(event.data.get("unit"))
    if not QUANTITY.match(quantity):
        raise _Refused("bad_quantity", "data.quantity must be a string that is an exact decimal")
    if not _is_text(unit, NAME_MAX_CHARS):
        raise _Refused("bad_unit", f"data.unit must be a string of 1 to {NAME_MAX_CHARS} characters, no NUL among them")
    time_ms, day = _time(event.time)
    return Screened(seq, body, event.id, event.type, time_ms, day, quantity, unit)


def _read(body: bytes) -> _Doubtful:
    if len(body) > EVENT_MAX_BYTES:
        raise _Refused("too_large", f"{len(body)} bytes are more than {EVENT_MAX_BYTES}")
    try:
        return _doubtful(_as_text(body))
    except _UNREADABLE as error:
        raise _Refused("not_an_event", str(error)) from None


def _text(json: msgspec.Raw | None) -> str:
    """Empty for what is no string: neither a quantity nor a unit is."""
    try:
        return msgspec.json.decode(json or b'""', type=str)
    except msgspec.DecodeError:
        return ""


def _is_of(site: str, source: str) -> bool:
    return source.endswith(f":site:{site}")


def _is_meter(name: str) -> bool:
    return name in METERS or (name.startswith("risk.") and _is_text(name, NAME_MAX_CHARS))


def _is_text(text: str, max_chars: int) -> bool:
    """Databases have indexes whose entries are bounded, and texts that cannot hold NUL (PostgreSQL, 8.3): an event that one of
    them could never store would hold up all that follows it."""
    return 0 < len(text) <= max_chars and "\0" not in text


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
