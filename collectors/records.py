"""What is heard: the records that collectors hand in.

Laws
- A record is a frozen value. It says what its source said; it is never changed, only joined with others.
- Instants are whole milliseconds since the Unix epoch, UTC (`*_at_ms`); spans are whole milliseconds (`*_ms`).
- A `key` is derived from the record's own content, so the same record read again, by another process or on
  another machine, has the same key. It is unique among the records of its kind within one source.
- Nothing here knows a meter, a price or a seat: an `endpoint` is what the phone system calls a device or account,
  and the metering decides from the site's dial plan whether that is a seat, a trunk or neither.
"""

from typing import Literal

from msgspec import Struct

Outcome = Literal["answered", "no_answer", "busy", "cancelled", "failed"]
"""How a call attempt came out. `cancelled`: the caller gave up before an answer, and the source says so."""

Ending = Literal["confirmed", "assumed", "open"]
"""How sure the end of a call is. `confirmed`: the source said when it ended. `assumed`: its end was not heard (a lost
BYE), and `ended_at_ms` is the last sign of life. `open`: the source stopped while the call was still up."""


class Leg(Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """One part of a call as one source record (a CDR row, a SIP dialog) tells it. Each kind of source extends it
    with the fields that its own `join` needs; the ledger stores it whole and gives it back unchanged. It is stored as an
    array: new fields come last, with defaults, and none is ever taken out."""

    key: str
    call_key: str
    started_at_ms: int
    ended_at_ms: int
    raw: str = ""
    """The source's own text, for audit; empty where a leg is not one text (a SIP dialog)."""


class Party(Struct, frozen=True, gc=False):
    """One end of a call. `number`: what a person would read off a display. `endpoint`: the phone system's own name
    for the device, account or trunk (`101`, `carrier`); empty where the source does not show it."""

    number: str = ""
    endpoint: str = ""


class FeatureUse(Struct, frozen=True, kw_only=True, gc=False):
    """Use of a telephony feature. `code` is one of the catalogue's (docs/reference/meters.md). `endpoint`: who used it.
    `key` is set on a use that belongs to no call; within a `Call` it stays empty and `count` tells how often."""

    code: str
    endpoint: str
    at_ms: int
    count: int = 1
    key: str = ""


class Call(Struct, frozen=True, kw_only=True, gc=False):
    """One call, however many legs it had: what a collector's `join` makes of all legs known under one key.

    `answered_at_ms` is None where nobody answered; then `talk_ms` is 0. `talk_ms` is the time that the caller was
    connected to anything that answers, before any rounding. `offered` are the endpoints that were rung or took part.
    `dialled` is what the caller dialled, `trunk_in`/`trunk_out` the trunk's endpoint where the source shows one.
    """

    key: str
    started_at_ms: int
    answered_at_ms: int | None
    ended_at_ms: int
    talk_ms: int
    outcome: Outcome
    caller: Party
    dialled: str
    answered_by: Party | None = None
    offered: tuple[str, ...] = ()
    trunk_in: str = ""
    trunk_out: str = ""
    features: tuple[FeatureUse, ...] = ()
    ending: Ending = "confirmed"
    legs: int = 1
    complete: bool = False
    """True where the source knows that no leg can come any more."""


class Registration(Struct, frozen=True, kw_only=True):
    """A device was registered: one record for a new binding, and one per UTC hour in which it was refreshed, so that a
    refresh is never a new seat (RFC 3261 section 10). `state` `ended`: it unregistered or ran out."""

    key: str
    endpoint: str
    contact: str
    at_ms: int
    expires_at_ms: int
    state: Literal["registered", "ended"] = "registered"
    user_agent: str = ""


class Reject(Struct, frozen=True, kw_only=True):
    """Input that could not be read. `reason` is a short stable code, `message` a sentence for a technician, `excerpt`
    the bytes themselves up to EXCERPT_MAX_BYTES, `position` where it stood (`Master.csv:120`, `packet 17`)."""

    key: str
    reason: str
    message: str
    excerpt: bytes
    position: str
    at_ms: int = 0


EXCERPT_MAX_BYTES = 2048
"""Asterisk's CSV backend writes records of at most 1,024 bytes; a SIP start line and headers mostly fit in 2,048."""

Record = Leg | Registration | FeatureUse
