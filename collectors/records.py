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
    `key` is set on a use that belongs to no call; within a `Call` it stays empty and `count` tells how often. `segments`: of
    a `message`, how many short messages it would have been; 0 where the source does not show it."""

    code: str
    endpoint: str
    at_ms: int
    count: int = 1
    key: str = ""
    segments: int = 0


class MediaFlow(Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """One direction of one media stream of a call. `packets` and `octets` (RTP payload, or UDPTL for T.38) as counted or
    as the far end reports them; `told_by` says which. `lost` is RFC 3550's cumulative number, `jitter_us` its interarrival
    jitter (mean of the stream, microseconds; RFC 3550 section 6.4.1), `mos` a hundredth of a point (ITU-T G.107), None where
    nothing tells. `digits` counts RFC 4733 key presses; which they were is not kept."""

    kind: Literal["audio", "video", "image", "other"]
    codec: str
    src: str
    dst: str
    from_caller: bool
    started_at_ms: int
    ended_at_ms: int
    packets: int = 0
    octets: int = 0
    lost: int = 0
    jitter_us: int = 0
    mos: int | None = None
    digits: int = 0
    pages: int = 0
    told_by: Literal["rtp", "rtcp", "xr", "vq"] = "rtp"


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
    post_dial_ms: int | None = None
    """From the INVITE to the first sign that it rings or an answer (180, 183, 200); None where there was none."""
    status: int = 0
    """The final SIP status of the caller's own leg, 0 where none was heard."""
    cause: int = 0
    """The Q.850 cause that the network gave (Reason, RFC 3326), 0 where it gave none."""
    attestation: Literal["", "A", "B", "C"] = ""
    """How far the caller's own provider vouches for the number (RFC 8588)."""
    media: tuple[MediaFlow, ...] = ()
    """What the caller's own leg carried (of the others: only where it carried nothing), both directions."""
    partial: bool = False
    """It was up before the source began to listen: it starts with the first thing that was heard, and lasted longer."""
    private: bool = False
    """The caller asked that the number be withheld from the called party (RFC 3323): it bills, and is not shown."""


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
    device: str = ""
    """The class of device that `user_agent` names: `desk_phone`, `ata`, `softphone`, `mobile_app`, `gateway`, `pbx_trunk`."""


class Risk(Struct, frozen=True, kw_only=True, gc=False):
    """Something that a technician should look at, never billed. `code` is one of the catalogue's `risk.*`, `origin` the
    address it came from, `endpoint` what it was after. One record tells of `count` times between `at_ms` and `until_ms`."""

    key: str
    code: str
    origin: str
    at_ms: int
    until_ms: int
    count: int = 1
    endpoint: str = ""
    detail: str = ""


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

Record = Leg | Registration | FeatureUse | Risk
