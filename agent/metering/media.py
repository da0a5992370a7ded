"""What a call's media comes to: its volume and its quality, for events and for who reads a source. Pure.

Laws
- Volume is what was carried, both ways: octets of RTP payload (of UDPTL for a fax), without RTP, UDP and IP headers.
- Quality is that of the worse direction: a call is as good as its worse half sounds.
"""

from agent.metering.charge import UNIT
from collectors.records import Call, MediaFlow

GB_OCTETS = 10**9
"""A gigabyte as data volume is sold: 1,000 MB (IEC 80000-13), not 2**30."""

_PER_UNIT = GB_OCTETS // UNIT


def octets(call: Call) -> int:
    return sum(flow.octets for flow in call.media)


def volume_amount(octets: int) -> int:
    """Octets as millionths of a GB, that is whole kB, half to even."""
    quotient, rest = divmod(octets, _PER_UNIT)
    return quotient + (rest * 2 > _PER_UNIT or (rest * 2 == _PER_UNIT and quotient % 2 == 1))


def pages(call: Call) -> int:
    """Pages of T.38 streams, sent and received."""
    return sum(flow.pages for flow in call.media)


def quality(call: Call) -> dict[str, str | int]:
    """`codec`, `mos`, `loss_percent`, `jitter_ms`, each where something tells it; `digits`: how many keys were pressed."""
    audio = [flow for flow in call.media if flow.kind == "audio" and flow.packets]
    told: dict[str, str | int] = {}
    if not audio:
        return told
    main = max(audio, key=lambda flow: flow.packets)
    if main.codec:
        told["codec"] = main.codec
    if scores := [flow.mos for flow in audio if flow.mos is not None]:
        told["mos"] = _hundredths(min(scores))
    told["loss_percent"] = _hundredths(max(_loss(flow) for flow in audio))
    told["jitter_ms"] = _hundredths(max(flow.jitter_us for flow in audio) // 10)
    if digits := sum(flow.digits for flow in audio):
        told["digits"] = digits
    return told


def _loss(flow: MediaFlow) -> int:
    """Hundredths of a percent of what was sent. What RTCP counts as packets is what was sent already."""
    sent = flow.packets if flow.told_by != "rtp" else flow.packets + flow.lost
    return round(10_000 * max(0, flow.lost) / sent) if sent > 0 else 0


def _hundredths(value: int) -> str:
    return f"{value // 100}.{value % 100:02d}"
