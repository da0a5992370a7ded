"""MicroTransaction <-> CloudEvents bytes.

Laws
- `encode` is the only place where the bytes of an event are made; they are stored once and sent as they are stored.
- Quantities are exact decimals, as strings. Times are UTC with milliseconds.
- An event's id is derived from its input (`timed_id`), never from the time or place of its making.

The form is CloudEvents 1.0.2 in its JSON format; `epoch`, `sequence` (digits) and `recordedtime` are extension
attributes, all else that the meter says is in `data`.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256 as _sha256
from typing import Any

import msgspec
from msgspec import Struct

_TIME_MASK = (1 << 48) - 1
CHAIN_START = bytes(32)
"""The chain value before the first event of an epoch; the events name their epoch themselves."""


class MicroTransaction(Struct, frozen=True, kw_only=True, gc=False):
    """One countable fact. `meter` is a name of the catalogue, `subject` who consumed it, `quantity` an exact decimal.
    `data` holds the meter's own attributes; `corrects` is the id of the event that this one amends."""

    id: str
    meter: str
    subject: str
    time_ms: int
    quantity: str
    unit: str
    data: dict[str, str | int]
    corrects: str = ""


class EventHead(Struct, frozen=True):
    """The attributes of stored bytes that a receiver needs before it looks any further."""

    specversion: str
    id: str
    source: str
    type: str
    time: str
    epoch: str
    sequence: str
    subject: str = ""
    recordedtime: str = ""
    data: dict[str, Any] = {}


QUANTITY = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,12})?\Z")
"""How an exact decimal is written: 18 digits before the point and 12 behind it."""

_json = msgspec.json.Encoder().encode
_head_decoder = msgspec.json.Decoder(EventHead)


def event_id(site: str, *parts: str) -> str:
    """32 hexadecimal digits (half a SHA-256) from the site and whatever identifies a thing, such as a call. The parts are
    hashed as a JSON array, so that no two different lists of parts give the same bytes."""
    return _sha256(_json((site, *parts))).hexdigest()[:32]


def timed_id(time_ms: int, reference: str, slot: Struct, made: int) -> str:
    """An event's id: 12 hexadecimal digits of its time and 20 of the hash of its input, which is the thing that it is about
    (`event_id`), the slot that it is booked in, and how many events that slot had before. Ids of one day lie close together,
    so that an index over them stays quick however many there are."""
    identity = reference.encode() + _json(slot) + (b"%d" % made if made else b"0")
    return _time_digits(time_ms) + _sha256(identity).hexdigest()[:20]


@lru_cache(maxsize=1024)
def _time_digits(time_ms: int) -> str:
    return f"{time_ms & _TIME_MASK:012x}"


def chain_next(chain: bytes, body: bytes) -> bytes:
    """chain(n) = SHA-256(chain(n-1) || bytes(n))."""
    return _sha256(chain + body).digest()


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


@lru_cache(maxsize=1024)
def instant(time_ms: int) -> str:
    """RFC 3339 text of an instant: `2026-11-20T10:00:00.000Z`."""
    seconds, ms = divmod(time_ms, 1000)
    return f"{_second(seconds)}.{ms:03d}Z"


class _Wire(Struct, gc=False):
    """The members of the JSON object, in their order."""

    id: str
    source: str
    type: str
    subject: str
    time: str
    recordedtime: str
    epoch: str
    sequence: str
    data: dict[str, str | int]
    specversion: str = "1.0"


def encode(event: MicroTransaction, source: str, epoch: str, sequence: int, recorded_ms: int) -> bytes:
    """The stored bytes of `event` as number `sequence` of `epoch`. `source` is the site's URN."""
    data: dict[str, str | int] = {"quantity": event.quantity, "unit": event.unit, **event.data}
    if event.corrects:
        data["corrects"] = event.corrects
    time = instant(event.time_ms)
    recorded = instant(recorded_ms)
    return _json(_Wire(event.id, source, event.meter, event.subject, time, recorded, epoch, str(sequence), data))


def decode_head(body: bytes) -> EventHead:
    """Raises msgspec.DecodeError (of which ValidationError is one) where `body` is no event of ours."""
    return _head_decoder.decode(body)


def decode(body: bytes) -> MicroTransaction:
    """The micro-transaction that stored bytes tell of. Raises msgspec.DecodeError as `decode_head` does."""
    head = decode_head(body)
    data = dict(head.data)
    return MicroTransaction(
        id=head.id,
        meter=head.type,
        subject=head.subject,
        time_ms=time_ms(head.time),
        quantity=str(data.pop("quantity", "0")),
        unit=str(data.pop("unit", "")),
        corrects=str(data.pop("corrects", "")),
        data=data,
    )


def time_ms(text: str) -> int:
    """An RFC 3339 instant as milliseconds since the epoch. Raises ValueError."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)
