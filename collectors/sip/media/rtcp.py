"""RTCP packets (RFC 3550 section 6, RFC 3611) as reports. Pure.

Laws
- `read` gives a `Compound` or None where these bytes are no RTCP; nothing raises.
- `sent` tells of streams that the packet's sender sends, `received` of those that it receives. The ends are left empty: who
  knows the packet's addresses knows them.
- SRTCP is encrypted behind its first header and sender SSRC, sender counts included (RFC 3711 section 3.4): it is not read
  here; who knows the session description knows that it is secure.
"""

from collections.abc import Iterator
from struct import Struct as Layout

from msgspec import Struct

from collectors.sip.media.report import Report

SENDER, RECEIVER, SOURCE, BYE, APP, XR = 200, 201, 202, 203, 204, 207
TYPES = frozenset(range(192, 224))
"""The second octet of what is RTCP where it shares a port with RTP (RFC 5761 section 4)."""

_HEAD, _SENDER, _BLOCK = Layout(">BBHI"), Layout(">IIIII"), Layout(">IIIIII")
_XR_HEAD, _SUMMARY, _VOIP = Layout(">BBH"), Layout(">IHHIIIIII"), Layout(">IBBBBHHHHBBBBBBBB")
SUMMARY, VOIP_METRICS = 6, 7
"""RFC 3611 sections 4.6 and 4.7."""
_JITTER = 0x20
"""Flag of a statistics summary: it tells jitter."""
NOT_TOLD = 127
"""RFC 3611 section 4.7.5: R and MOS where they are not available."""


class Compound(Struct, frozen=True, gc=False):
    sent: tuple[Report, ...] = ()
    received: tuple[Report, ...] = ()
    bye: bool = False


def is_rtcp(buffer: bytes | memoryview, begin: int, end: int) -> bool:
    return end - begin >= _HEAD.size and buffer[begin] >> 6 == 2 and buffer[begin + 1] in TYPES


def read(at_us: int, data: bytes) -> Compound | None:
    """A compound packet, as far as its parts are whole."""
    if not is_rtcp(data, 0, len(data)):
        return None
    sent: list[Report] = []
    received: list[Report] = []
    bye = False
    at = 0
    while at + _HEAD.size <= len(data):
        first, kind, words, ssrc = _HEAD.unpack_from(data, at)
        end = at + 4 + 4 * words
        if first >> 6 != 2 or end > len(data):
            break
        count, body = first & 0x1F, at + _HEAD.size
        if kind == SENDER and body + _SENDER.size <= end:
            _, _, _, packets, octets = _SENDER.unpack_from(data, body)
            sent.append(Report(at_us=at_us, told_by="rtcp", ssrc=ssrc, packets=packets, octets=octets))
            received.extend(_blocks(at_us, data, body + _SENDER.size, end, count))
        elif kind == RECEIVER:
            received.extend(_blocks(at_us, data, body, end, count))
        elif kind == XR:
            received.extend(_extended(at_us, data, body, end))
        bye = bye or kind == BYE
        at = end
    return Compound(tuple(sent), tuple(received), bye)


def _blocks(at_us: int, data: bytes, at: int, end: int, count: int) -> Iterator[Report]:
    """Report blocks (RFC 3550 section 6.4.1); the cumulative loss is a signed number of 24 bits."""
    for _ in range(count):
        if at + _BLOCK.size > end:
            return
        ssrc, lost, _, jitter, _, _ = _BLOCK.unpack_from(data, at)
        lost = (lost & 0xFFFFFF ^ 0x800000) - 0x800000
        yield Report(at_us=at_us, told_by="rtcp", ssrc=ssrc, lost=lost, jitter_units=jitter)
        at += _BLOCK.size


def _extended(at_us: int, data: bytes, at: int, end: int) -> Iterator[Report]:
    while at + _XR_HEAD.size <= end:
        kind, flags, words = _XR_HEAD.unpack_from(data, at)
        body, at = at + _XR_HEAD.size, at + _XR_HEAD.size + 4 * words
        if at > end:
            return
        if kind == SUMMARY and body + _SUMMARY.size <= at:
            ssrc, _, _, _, _, _, _, jitter, _ = _SUMMARY.unpack_from(data, body)
            if flags & _JITTER:  # its loss is that of its own interval, and nothing cumulative
                yield Report(at_us=at_us, told_by="xr", ssrc=ssrc, jitter_units=jitter)
        elif kind == VOIP_METRICS and body + _VOIP.size <= at:
            yield _voip(at_us, _VOIP.unpack_from(data, body))


def _voip(at_us: int, told: tuple[int, ...]) -> Report:
    ssrc, trip_ms, r, conversational = told[0], told[7], told[13], told[16]
    return Report(
        at_us=at_us,
        told_by="xr",
        ssrc=ssrc,
        round_trip_us=trip_ms * 1000 if trip_ms else None,
        r_factor=r if r <= 100 else None,
        mos=conversational * 10 if 10 <= conversational <= 50 else None,
    )
