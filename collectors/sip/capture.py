"""SIP packets out of a capture file.

Laws
- Streaming: one chunk of the file, the streams in progress, and a table of the flows met lately.
- What is SIP is told by its start line, not by its port. UDP payloads that are no SIP are given only where a phone may have
  sent them to keep a binding alive (they are counted further on); media and all else stay here, counted.
- Nothing raises but `frames.CaptureError`: what is not understood in a frame is counted by name.
"""

from collections import Counter
from collections.abc import Iterator
from struct import Struct as Layout
from typing import BinaryIO

from collectors.net.frames import spans
from collectors.net.layers import NotUnderstood, address_text, transport_of
from collectors.sip.limits import Limits
from collectors.sip.names import METHODS
from collectors.sip.packets import SipPacket, is_keepalive, looks_like_sip
from collectors.sip.tcp import Reassembly

FLOWS_MAX = 65_536
"""Pairs of addresses whose text is remembered; the table starts anew when it is full."""

_PLAIN = Layout(">12x3s5xHxB2x12sH")
"""Ethernet, IPv4, UDP: EtherType with IP version and header length, fragment field, protocol, addresses with ports, and the
datagram's length."""
_PLAIN_IP = b"\x08\x00\x45"
"""IPv4 without options."""
_PLAIN_BYTES = 42
_ETHERNET = 1
_PORTS = Layout(">HH")
_TCP = Layout(">HHIIBB")
_SIP_PORTS = frozenset((5060, 5061))


class CaptureReader:
    """Iterate over it once. `counters` tells what was met; `packets` the number of frames read."""

    def __init__(self, file: BinaryIO, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        self.counters: dict[str, int] = Counter()
        self.packets = 0
        self.at_us = 0
        """The time of the frame read last."""
        self._file = file
        self._flows: dict[bytes, tuple[str, str]] = {}
        self._tcp = Reassembly(limits, self.counters)

    @property
    def offset(self) -> int:
        """How much of the file was read, in bytes."""
        return self._file.tell()

    def __iter__(self) -> Iterator[SipPacket]:
        flows, unpack, counters = self._flows, _PLAIN.unpack_from, self.counters
        for at_us, link_type, buffer, begin, end in spans(self._file):
            self.packets += 1
            self.at_us = at_us
            if link_type == _ETHERNET and end - begin > _PLAIN_BYTES:
                kind, fragment, protocol, key, length = unpack(buffer, begin)
                if kind == _PLAIN_IP and protocol == 17 and not fragment & _FRAGMENT:
                    last = begin + 34 + length
                    if last > end:
                        counters["cut_off"] += 1
                    payload = buffer[begin + _PLAIN_BYTES : last if last < end else end]
                    if payload[:3] in _STARTS:
                        src, dst = flows.get(key) or self._flow(key)
                        yield SipPacket(at_us, "udp", src, dst, payload)
                        continue
            frame = buffer[begin:end]
            try:
                name, source, target, at, whole, available = transport_of(link_type, frame)
            except NotUnderstood as reason:
                counters[str(reason)] += 1
                continue
            if available < whole:
                counters["cut_off"] += 1
            if name == "udp":
                yield from self._datagram(at_us, frame, source, target, at, available)
            else:
                yield from self._segment(at_us, frame, source, target, at, available)

    def _flow(self, key: bytes) -> tuple[str, str]:
        """The two ends as text; `key` is both addresses and both ports as they stand in the packet."""
        if len(self._flows) >= FLOWS_MAX:
            self._flows.clear()
        size = (len(key) - 4) // 2
        source_port, target_port = _PORTS.unpack_from(key, len(key) - 4)
        pair = address_text(key[:size], source_port), address_text(key[size : 2 * size], target_port)
        self._flows[key] = pair
        return pair

    def _datagram(
        self, at_us: int, frame: bytes, source: bytes, target: bytes, at: int, end: int
    ) -> Iterator[SipPacket]:
        length = frame[at + 4] << 8 | frame[at + 5]
        payload = frame[at + 8 : min(end, at + length) if length >= 8 else end]
        if not looks_like_sip(payload) and not self._is_sip_port(frame, at, payload):
            self.counters["other_udp"] += 1
            return
        key = source + target + frame[at : at + 4]
        src, dst = self._flows.get(key) or self._flow(key)
        yield SipPacket(at_us, "udp", src, dst, payload)

    def _is_sip_port(self, frame: bytes, at: int, payload: bytes) -> bool:
        """A keep-alive is one only where SIP is spoken."""
        ports = _PORTS.unpack_from(frame, at)
        return is_keepalive(payload) and not _SIP_PORTS.isdisjoint(ports)

    def _segment(
        self, at_us: int, frame: bytes, source: bytes, target: bytes, at: int, end: int
    ) -> Iterator[SipPacket]:
        _, _, sequence, _, offset, flags = _TCP.unpack_from(frame, at)
        payload = frame[at + (offset >> 4) * 4 : end]
        key = source + target + frame[at : at + 4]
        for message in self._tcp.segment(key, sequence, flags, payload):
            src, dst = self._flows.get(key) or self._flow(key)
            yield SipPacket(at_us, "tcp", src, dst, message)


_STARTS = frozenset({b"SIP"} | {method[:3] for method in METHODS})
"""How the datagrams begin that go on without a closer look here."""

_FRAGMENT = 0x3FFF
"""Offset and more fragments; the don't-fragment bit does not matter."""
