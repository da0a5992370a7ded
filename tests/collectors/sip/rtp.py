"""RTP, RTCP and T.38 as phones send them, written out by the RFCs and ITU recommendations; calls with media around them.

A stream is a list of packets (`SipPacket` stands for any datagram); `watch` reads frames as a capture holds them.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence

from collectors.sip.dissect import Dissector
from collectors.sip.limits import Limits
from collectors.sip.media.desk import MediaSetting
from collectors.sip.packets import SipPacket
from collectors.sip.site import Site
from collectors.sip.tracker import Tracker
from tests.collectors.sip.flows import PBX, Exchange, Told, at, frame_of, in_order, phone

PHONE_RTP, PBX_RTP = "10.0.1.101:16384", "10.0.0.10:12000"


def rtcp_of(place: str) -> str:
    host, _, port = place.rpartition(":")
    return f"{host}:{int(port) + 1}"


def description(place: str, formats: str = "0 101", *lines: str, kind: str = "audio", protocol: str = "RTP/AVP") -> str:
    """An SDP body that awaits one stream at `place` (`ip:port`, `[ip]:port`)."""
    host, _, port = place.rpartition(":")
    host = host.strip("[]")
    family = "IP6" if ":" in host else "IP4"
    told = ["v=0", f"o=- 1 1 IN {family} {host}", "s=-", f"c=IN {family} {host}", "t=0 0"]
    told.append(f"m={kind} {port} {protocol} {formats}")
    if " 101" in formats:
        told.append("a=rtpmap:101 telephone-event/8000")
    return "\r\n".join([*told, *lines]) + "\r\n"


def rtp(
    sequence: int,
    timestamp: int,
    payload: bytes = bytes(160),
    *,
    kind: int = 0,
    ssrc: int = 0x1234,
    marker: bool = False,
    first: int = 0x80,
) -> bytes:
    second = kind | (0x80 if marker else 0)
    return struct.pack(">BBHII", first, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + payload


def voice(
    src: str,
    dst: str,
    start: float,
    end: float,
    *,
    kind: int = 0,
    ssrc: int = 0x1234,
    sequence: int = 1000,
    timestamp: int = 0,
    payload: bytes = bytes(160),
    late_us: Sequence[int] = (0,),
) -> list[SipPacket]:
    """A packet each 20 ms; `late_us`: how much later than that they arrive, in turn."""
    count = round((end - start) * 50)
    return [
        SipPacket(
            at(start) + step * 20_000 + late_us[step % len(late_us)],
            "udp",
            src,
            dst,
            rtp(sequence + step, timestamp + 160 * step, payload, kind=kind, ssrc=ssrc),
        )
        for step in range(count)
    ]


def without(packets: Sequence[SipPacket], *numbers: int) -> list[SipPacket]:
    """The same, but those at these places (from 0) got lost."""
    return [packet for number, packet in enumerate(packets) if number not in numbers]


def key_press(
    src: str, dst: str, start: float, sequence: int, timestamp: int, event: int = 5, *, ssrc: int = 0x1234
) -> list[SipPacket]:
    """RFC 4733: an update each 20 ms while the key is down for 80 ms, then the end three times; one timestamp for all."""
    steps = [(160 * (step + 1), 0x0A) for step in range(4)] + [(640, 0x8A)] * 3
    return [
        SipPacket(
            at(start) + 20_000 * step,
            "udp",
            src,
            dst,
            rtp(
                sequence + step,
                timestamp,
                struct.pack(">BBH", event, flags, span),
                kind=101,
                ssrc=ssrc,
                marker=not step,
            ),
        )
        for step, (span, flags) in enumerate(steps)
    ]


# --- RTCP


def block(ssrc: int, lost: int = 0, jitter: int = 0, fraction: int = 0) -> bytes:
    return struct.pack(">IIIIII", ssrc, fraction << 24 | lost & 0xFFFFFF, 70_000, jitter, 0, 0)


def sender_report(ssrc: int, packets: int, octets: int, *blocks: bytes) -> bytes:
    body = struct.pack(">IIIIII", ssrc, 0xE0000000, 0, 160, packets, octets) + b"".join(blocks)
    return struct.pack(">BBH", 0x80 | len(blocks), 200, len(body) // 4) + body


def receiver_report(ssrc: int, *blocks: bytes) -> bytes:
    body = struct.pack(">I", ssrc) + b"".join(blocks)
    return struct.pack(">BBH", 0x80 | len(blocks), 201, len(body) // 4) + body


def goodbye(ssrc: int) -> bytes:
    return struct.pack(">BBHI", 0x81, 203, 1, ssrc)


def source_name(ssrc: int) -> bytes:
    """SDES with a CNAME, as it follows each report."""
    body = struct.pack(">I", ssrc) + b"\x01\x04abcd" + bytes(2)
    return struct.pack(">BBH", 0x81, 202, len(body) // 4) + body


def voip_metrics(sender: int, source: int, *, r: int = 127, mos_cq: int = 127, round_trip_ms: int = 0) -> bytes:
    """RFC 3611 section 4.7."""
    metrics = struct.pack(">IBBBBHHHH", source, 2, 1, 3, 4, 60, 500, round_trip_ms, 40)
    metrics += struct.pack(">BBBBBBBBBBHHH", 0, 0, 0, 16, r, 127, 41, mos_cq, 0x30, 0, 60, 80, 120)
    body = struct.pack(">I", sender) + struct.pack(">BBH", 7, 0, len(metrics) // 4) + metrics
    return struct.pack(">BBH", 0x80, 207, len(body) // 4) + body


# --- T.38 (ITU-T T.38 sections 7 and 9, X.691 aligned; T.30 sections 5.3.6 and annex A)


def ifp_indicator(kind: int) -> bytes:
    return bytes([kind << 1])


def ifp_data(kind: int, *fields: tuple[int, bytes], version: int = 0) -> bytes:
    """A t30-data packet of fields (type, octets). Version 0 packs a field without octets into half an octet."""
    out = bytearray([0xC0 | kind << 1, len(fields)])
    half = False
    for field, octets in fields:
        code = (0x80 if octets else 0) | (field << 3 if version else field << 4)
        if version:
            out.append(code)
        elif half:
            out[-1] |= code >> 4
        else:
            out.append(code)
        half = not version and not half and not octets
        if octets:
            out += struct.pack(">H", len(octets) - 1) + octets
    return bytes(out)


def control(command: bytes, version: int = 0) -> bytes:
    """A T.30 frame over V.21, all in one IFP packet: address, control, command; then its check and the end of the signal."""
    return ifp_data(0, (0, b"\xff\xc8" + command), (4, b""), version=version)


def udptl(sequence: int, primary: bytes, *before: bytes) -> bytes:
    """One datagram; `before`: the packets before it, the latest first, as redundancy."""
    spare = b"".join(bytes([len(packet)]) + packet for packet in before)
    return struct.pack(">H", sequence) + bytes([len(primary)]) + primary + bytes([0, len(before)]) + spare


IMAGE = ifp_data(8, (6, bytes(40)))
"""Non-ECM image data, V.17 at 14,400 bit/s."""
MPS, EOP, MCF, RTN = b"\xf2", b"\xf4", b"\x31", b"\x32"
PPS_NULL, PPS_MPS, PPS_EOP = b"\xfd\x00\x00\x00\x10", b"\xfd\xf2\x00\x00\x10", b"\xfd\xf4\x00\x00\x10"


class FaxSide:
    """One end of a T.38 stream; each datagram repeats the packet before it."""

    def __init__(self, src: str, dst: str) -> None:
        self.src, self.dst = src, dst
        self.sequence = 0
        self.last = b""

    def send(self, seconds: float, packet: bytes) -> SipPacket:
        data = udptl(self.sequence, packet, *([self.last] if self.last else []))
        self.sequence, self.last = self.sequence + 1, packet
        return SipPacket(at(seconds), "udp", self.src, self.dst, data)


# --- calls


def call_with(
    *media: Iterable[SipPacket],
    offer: str = "",
    answer: str = "",
    end: float | None = 30,
    exchange: Exchange | None = None,
) -> list[SipPacket]:
    """A call from second 0, answered at 2; `end`: when the BYE comes, None: it is lost."""
    exchange = exchange or Exchange("m1", phone(101), PBX, "101", "102")
    signalling = [
        exchange.invite(0, body=offer or description(PHONE_RTP)),
        exchange.answer(0.1, 180),
        exchange.accept(2, body=answer or description(PBX_RTP)),
        exchange.ack(2.02),
    ]
    if end is not None:
        signalling += [exchange.bye(end), exchange.bye_ok(end + 0.01)]
    return in_order(signalling, *media)


def frames(packets: Iterable[SipPacket]) -> Iterator[tuple[int, bytes]]:
    for packet in packets:
        yield packet.at_us, frame_of(packet)


def watch(
    packets: Iterable[SipPacket],
    media: MediaSetting = "rtp",
    *,
    limits: Limits | None = None,
    site: Site | None = None,
    end: float | None = 100_000,
) -> Told:
    """What a tracker makes of the frames; `end` as in `flows.track`."""
    tracker = Tracker(limits or Limits(), site or Site(), media)
    dissector = Dissector(limits or Limits(), tracker.media)
    for at_us, frame in frames(packets):
        for packet in dissector.feed(at_us, 1, frame):
            tracker.feed(packet)
    if end is None:
        tracker.finish(dissector.at_us)
    else:
        for second in range(0, round(end), 1000):
            tracker.tick(at(second))
        tracker.tick(at(end))
    return Told(*tracker.drain(), {**dissector.counters, **tracker.counters})
