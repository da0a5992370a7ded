"""The media of one dialog, and the flows that it comes to. Pure.

Laws
- What was counted goes before what was reported: where a direction has streams of its own, reports add to them (the delay,
  a MOS for a codec that the E-model has no figures for) and are no flows beside them.
- A MOS is of what is known: loss, packets that came too late, the codec, and the delay where a report told it. A delay that
  nobody measured is taken as none.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from collectors.net.ip import address_text
from collectors.records import MediaFlow
from collectors.sip.media import emodel
from collectors.sip.media.codecs import EVENTS, NOISE, Codec, impairment
from collectors.sip.media.description import Place
from collectors.sip.media.heard import SSRC_UNKNOWN, Heard
from collectors.sip.media.negotiation import Negotiation, main_codec
from collectors.sip.media.rtp import BUFFER_US, Stream
from collectors.sip.media.t38 import Fax

MOS_PACKETS_MIN = 50
"""Of less than a second of speech there is nothing to say."""

FRAME_US = 20_000
"""The packet's own span, which is part of the delay; nearly all phones send 20 ms."""


class Session(Struct, array_like=True):
    """`serial`: the dialog's, `call`: its group's. `places` is what it awaits media at now: for which end (bit 0: the callee)
    and whether only RTCP (bit 1)."""

    serial: int
    call: int
    negotiation: Negotiation
    places: dict[Place, int] = {}
    streams: list[Stream] = []
    heard: list[Heard] = []
    fax: Fax | None = None
    closed: bool = False
    evicted: bool = False
    """Some flow of it was pushed out: its silence tells nothing any more."""
    rtcp_us: int = 0
    bye_us: int = 0
    """When RTCP and an RTCP BYE were last heard."""

    def last_us(self) -> int:
        """The last sign of life of its media; 0 where there was none."""
        return max(self.rtcp_us, *(stream.last_us for stream in self.streams), 0)


def flows(session: Session) -> tuple[MediaFlow, ...]:
    if not session.streams and not session.heard:
        return ()
    counted = {stream.from_caller for stream in session.streams if stream.kind != "image"}
    found = [_counted(session, stream) for stream in session.streams]
    for from_caller in (True, False):
        if from_caller not in counted:
            found.extend(_reported(session, from_caller))
    return tuple(sorted(found, key=lambda flow: (flow.started_at_ms, not flow.from_caller, flow.codec)))


def _counted(session: Session, stream: Stream) -> MediaFlow:
    size = (len(stream.flow) - 4) // 2
    heard = [
        one
        for one in session.heard
        if one.from_caller == stream.from_caller and one.ssrc in (stream.ssrc, SSRC_UNKNOWN)
    ]
    expected, missed = stream.packets + stream.lost, stream.lost + stream.discarded
    random = stream.lost / stream.bursts * (1 - stream.lost / expected) if stream.bursts > 0 and expected > 0 else 1.0
    fax = session.fax if stream.kind == "image" else None
    return MediaFlow(
        kind=_kind(stream.kind),
        codec=stream.codec.name,
        src=address_text(stream.flow[:size], int.from_bytes(stream.flow[-4:-2], "big")),
        dst=address_text(stream.flow[size : 2 * size], int.from_bytes(stream.flow[-2:], "big")),
        from_caller=stream.from_caller,
        started_at_ms=stream.started_us // 1000,
        ended_at_ms=stream.last_us // 1000,
        packets=stream.packets,
        octets=stream.octets,
        lost=stream.lost,
        jitter_us=round(stream.jitter_sum_us / stream.jitter_count) if stream.jitter_count else 0,
        mos=_mos(stream.kind, stream.codec, expected, missed, random, heard),
        digits=stream.digits,
        pages=_pages(fax, stream.from_caller) if fax else 0,
    )


def _kind(kind: str) -> Literal["audio", "video", "image", "other"]:
    return kind if kind in ("audio", "video", "image") else "other"  # type: ignore[return-value]


def _pages(fax: Fax, from_caller: bool) -> int:
    return (fax.caller if from_caller else fax.callee).pages


def _mos(kind: str, codec: Codec, expected: int, missed: int, burst_ratio: float, heard: list[Heard]) -> int | None:
    told = next((one.mos for one in heard if one.mos is not None), None)
    known = impairment(codec.name)
    if kind != "audio" or codec.name in (EVENTS, NOISE) or known is None or expected < MOS_PACKETS_MIN:
        return told
    trip_us = next((one.round_trip_us for one in heard if one.round_trip_us is not None), None)
    delay_ms = 0 if trip_us is None else round((trip_us / 2 + BUFFER_US + FRAME_US) / 1000)
    loss_percent = round(100 * max(0, missed) / expected, 3)
    r = emodel.rating(known.ie, known.bpl, loss_percent, max(1.0, burst_ratio), delay_ms)
    return round(100 * emodel.mos(r))


def _reported(session: Session, from_caller: bool) -> Iterator[MediaFlow]:
    """By RTCP, an SSRC each; by other reports only where there is none."""
    heard = [one for one in session.heard if one.from_caller == from_caller]
    named = [one for one in heard if one.ssrc != SSRC_UNKNOWN]
    codec, kind, src, dst = announced(session, from_caller)
    for one in named or heard:
        expected = one.packets + max(0, one.lost) if one.told_by == "vq" else one.packets
        yield MediaFlow(
            kind=_kind(kind),
            codec=codec.name if codec else "",
            src=one.src or src,
            dst=one.dst or dst,
            from_caller=from_caller,
            started_at_ms=one.started_us // 1000,
            ended_at_ms=one.last_us // 1000,
            packets=one.packets,
            octets=one.octets,
            lost=one.lost,
            jitter_us=one.jitter_us,
            mos=_mos(kind, codec, expected, one.lost, 1.0, [one, *heard]) if codec else one.mos,
            told_by=_TOLD[one.told_by],
        )


_TOLD: dict[str, Literal["rtcp", "xr", "vq"]] = {"rtcp": "rtcp", "xr": "xr", "vq": "vq"}


def announced(session: Session, from_caller: bool) -> tuple[Codec | None, str, str, str]:
    """Codec, kind and both ends of what flows this way, as the session description has it."""
    negotiation = session.negotiation
    to = next((line for line in negotiation.end(int(from_caller)).now() if line.live), None)
    by = next((line for line in negotiation.end(int(not from_caller)).now() if line.live), None)
    line = to or by
    if line is None:
        return None, "audio", "", ""
    src, dst = (place_text(one.places[0]) if one and one.places else "" for one in (by, to))
    return main_codec(line), line.kind, src, dst


@lru_cache(2048)
def place_text(place: Place) -> str:
    return address_text(place[:-2], int.from_bytes(place[-2:], "big"))
