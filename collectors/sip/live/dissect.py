"""Live frames to SIP packets, by the layers that a capture file is read with."""

from collections import Counter
from collections.abc import Iterator
from struct import Struct as Layout

from collectors.net.layers import NotUnderstood, address_text, transport_of
from collectors.sip.limits import Limits
from collectors.sip.packets import SipPacket, looks_like_sip
from collectors.sip.tcp import Reassembly

_TCP = Layout(">HHIIBB")
_PORTS = Layout(">HH")


class FrameDissector:
    def __init__(self, limits: Limits) -> None:
        self.counters: dict[str, int] = Counter()
        self._tcp = Reassembly(limits, self.counters)

    def feed(self, at_us: int, link_type: int, frame: bytes) -> Iterator[SipPacket]:
        try:
            name, source, target, at, whole, end = transport_of(link_type, frame)
        except NotUnderstood as reason:
            self.counters[str(reason)] += 1
            return
        if end < whole:
            self.counters["cut_off"] += 1
        src_port, dst_port = _PORTS.unpack_from(frame, at)
        src, dst = address_text(source, src_port), address_text(target, dst_port)
        if name == "udp":
            payload = frame[at + 8 : end]
            if looks_like_sip(payload):
                yield SipPacket(at_us, "udp", src, dst, payload)
            else:
                self.counters["other_udp"] += 1
            return
        _, _, sequence, _, offset, flags = _TCP.unpack_from(frame, at)
        payload = frame[at + (offset >> 4) * 4 : end]
        for message in self._tcp.segment(source + target + frame[at : at + 4], sequence, flags, payload):
            yield SipPacket(at_us, "tcp", src, dst, message)

    def snapshot(self) -> bytes:
        return b""

    def restore(self, state: bytes) -> None:
        pass
