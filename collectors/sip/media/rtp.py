"""One RTP stream as it passes: octets, loss, jitter, key presses (RFC 3550, RFC 4733). Pure.

Laws
- A stream is one SSRC with one codec between two addresses. Comfort noise and key presses belong to the codec that they
  interrupt: they share its sequence numbers.
- Loss is that of RFC 3550 appendix A.3, but a packet that comes twice counts once, and one that comes late is not lost.
- Jitter is that of appendix A.8, in microseconds. A step of more than STEP_US (a clock that was set, a new source behind the
  same SSRC) is none.
- Which keys were pressed is looked at in passing and kept nowhere.
"""

from struct import Struct as Layout

from msgspec import Struct

from collectors.sip.media.codecs import Codec

HEADER_BYTES = 12
_BEFORE = 4
_AROUND = 8 + HEADER_BYTES
"""The length in the UDP header, four octets before the payload, tells how long it was before a snap length cut it."""
DROPOUT_MAX, MISORDER_MAX = 3_000, 100
"""RFC 3550 appendix A.1: how far sequence numbers may jump ahead, or fall behind, before the sender must have begun anew."""
MISSING_MAX = 100
"""How many of the numbers that were passed over are remembered: as many as MISORDER_MAX lets come late."""

STEP_US = 1_000_000.0
"""No network delays one packet by a second more than the one before and delivers it still in time to be played."""

BUFFER_US = 60_000.0
"""The jitter buffer that a phone is taken to have: three packets of 20 ms, the usual default. Packets later than that are
taken to have come for nothing."""
ADAPTING = 1 - 1 / 256
"""How fast that buffer follows a delay that stays: half-way in 180 packets, about four seconds."""

_unpack = Layout(">H2xBBHII").unpack_from
_event = Layout(">BBH").unpack_from
_PLAIN = 0x80
"""Version 2, no padding, no extension, no contributing source."""
_KEYS_MAX = 15
"""RFC 4733 section 3.2: 0 to 9, *, #, A to D; what is above (flash, tones of a fax) is no key press."""


Header = tuple[int, int, int, int, int, int]
"""Length of the datagram (UDP header included), first and second octet of RTP, sequence number, timestamp, SSRC."""


class Stream(Struct, array_like=True):
    """`serial`: of the dialog that it belongs to. `flow`: source address, target address and both ports as they stand in the
    packet. `tick_us`: the span of one step of its timestamp. `events` and `noise`: the payload types of key presses and
    comfort noise that go with it, -1 for none. `next` is the sequence number that is due. `transit_us`: arrival less
    timestamp, of the newest packet of the codec."""

    serial: int
    flow: bytes
    from_caller: bool
    kind: str
    codec: Codec
    payload_type: int
    ssrc: int
    events: int
    noise: int
    tick_us: float
    started_us: int
    last_us: int
    next: int
    transit_us: float
    packets: int = 0
    octets: int = 0
    lost: int = 0
    bursts: int = 0
    """Runs of one or more packets that are missing."""
    duplicates: int = 0
    late: int = 0
    jitter_us: float = 0.0
    jitter_sum_us: float = 0.0
    jitter_count: int = 0
    queue_us: float = 0.0
    """How much later than the quickest the newest packet came, as a buffer that adapts slowly sees it."""
    discarded: int = 0
    digits: int = 0
    event_at: int = -1
    """The timestamp of the newest key press; -1 before the first."""
    event_span: int = 0
    event_over: bool = True
    restart: int = -1
    """The sequence number that would show that the sender began anew."""
    missing: list[int] = []
    extra: int = -1
    """Another payload type that goes with it, though nobody said what it is."""


def begin(
    serial: int,
    at_us: int,
    flow: bytes,
    from_caller: bool,
    kind: str,
    codec: Codec,
    events: int,
    noise: int,
    packet: Header,
) -> Stream:
    """A stream before its first packet, which is then to be taken. `packet`: what `header` gave."""
    _, _, second, sequence, timestamp, ssrc = packet
    tick_us = 1_000_000 / codec.clock_hz
    transit_us = at_us - timestamp * tick_us
    return Stream(
        serial,
        flow,
        from_caller,
        kind,
        codec,
        second & 0x7F,
        ssrc,
        events,
        noise,
        tick_us,
        at_us,
        at_us,
        sequence,
        transit_us,
    )


def header(buffer: bytes | memoryview, begin: int) -> Header:
    """At least HEADER_BYTES must be there, and the UDP header before them."""
    return _unpack(buffer, begin - _BEFORE)


def take(stream: Stream, at_us: int, buffer: bytes | memoryview, begin: int, end: int) -> bool:
    """One packet of this stream's flow; False, and nothing changed, where it is of another stream, or no RTP."""
    if end - begin < HEADER_BYTES:
        return False
    length, first, second, sequence, timestamp, ssrc = _unpack(buffer, begin - _BEFORE)
    kind = second & 0x7F
    if ssrc != stream.ssrc or first & 0xC0 != _PLAIN:
        return False
    plain = kind == stream.payload_type
    if not plain and kind != stream.events and kind != stream.noise and kind != stream.extra:
        return False
    octets = length - _AROUND if first == _PLAIN else _payload_bytes(length, first, buffer, begin, end)
    stream.last_us = at_us
    if sequence == stream.next:
        stream.next = sequence + 1 & 0xFFFF
    elif not _out_of_turn(stream, sequence):
        return True
    stream.packets += 1
    stream.octets += octets
    if plain:
        transit_us = at_us - timestamp * stream.tick_us
        change_us = transit_us - stream.transit_us
        stream.transit_us = transit_us
        if -STEP_US < change_us < STEP_US:
            jitter_us = stream.jitter_us
            jitter_us += ((change_us if change_us > 0 else -change_us) - jitter_us) * 0.0625
            stream.jitter_us = jitter_us
            stream.jitter_sum_us += jitter_us
            stream.jitter_count += 1
            queue_us = (stream.queue_us + change_us) * ADAPTING
            stream.queue_us = queue_us if queue_us > 0 else 0.0
            if queue_us > BUFFER_US:
                stream.discarded += 1
    elif kind == stream.events:
        _key_press(stream, timestamp, buffer, _payload_at(first, buffer, begin, end), end)
    return True


def _payload_bytes(length: int, first: int, buffer: bytes | memoryview, begin: int, end: int) -> int:
    """Less contributing sources, extension header and padding (RFC 3550 sections 5.1 and 5.3.1); padding is told by the last
    octet, which a snap length may have cut off."""
    at, whole = _payload_at(first, buffer, begin, end), begin + length - 8
    padding = buffer[end - 1] if first & 0x20 and whole == end else 0
    return max(0, whole - at - padding)


def _payload_at(first: int, buffer: bytes | memoryview, begin: int, end: int) -> int:
    at = begin + HEADER_BYTES + 4 * (first & 0x0F)
    if first & 0x10 and at + 4 <= end:
        at += 4 + 4 * (buffer[at + 2] << 8 | buffer[at + 3])
    return at


def _out_of_turn(stream: Stream, sequence: int) -> bool:
    """A sequence number that was not due; False where the packet came twice."""
    ahead = sequence - stream.next & 0xFFFF
    if ahead < DROPOUT_MAX:
        stream.lost += ahead
        stream.bursts += 1
        first = max(0, ahead - MISSING_MAX)
        missing = [*stream.missing, *(stream.next + step & 0xFFFF for step in range(first, ahead))]
        stream.missing = missing[-MISSING_MAX:]
        stream.next = sequence + 1 & 0xFFFF
    elif 0x10000 - ahead <= MISORDER_MAX:
        return _late(stream, sequence)
    elif sequence == stream.restart:
        stream.next, stream.restart, stream.missing = sequence + 1 & 0xFFFF, -1, []
    else:  # once may be a stray packet; the next in order shows a sender that began anew
        stream.restart = sequence + 1 & 0xFFFF
    return True


def _late(stream: Stream, sequence: int) -> bool:
    missing = stream.missing
    if sequence not in missing:
        stream.duplicates += 1
        return False
    missing.remove(sequence)
    stream.lost -= 1
    stream.late += 1
    beside = (sequence - 1 & 0xFFFF in missing) + (sequence + 1 & 0xFFFF in missing)
    stream.bursts += beside - 1  # the run that it stood in is gone, shorter, or two
    return True


def _key_press(stream: Stream, timestamp: int, buffer: bytes | memoryview, at: int, end: int) -> None:
    """RFC 4733 section 2.5.1: all packets of one event carry its start as timestamp, its end comes three times; an event
    longer than its duration field goes on in a next segment (section 2.5.1.3), whose timestamp is where the last one ended."""
    if at + 4 > end:
        return
    event, flags, span = _event(buffer, at)
    if event > _KEYS_MAX:
        return
    after = timestamp - stream.event_at & 0xFFFFFFFF
    if stream.event_at >= 0 and (after == 0 or after > 0x80000000):
        if after == 0:
            stream.event_over |= bool(flags & 0x80)
            stream.event_span = max(stream.event_span, span)
        return
    continued = stream.event_at >= 0 and not stream.event_over and after == stream.event_span
    stream.digits += not continued
    stream.event_at, stream.event_span, stream.event_over = timestamp, span, bool(flags & 0x80)
