"""SIP out of captured frames, whatever carries it: the one decoder of capture files and of live capture.

Laws
- Streaming and bounded: the streams and fragments in progress (`Limits`), and a table of the flows met lately.
- What is SIP is told by its start line, not by its port. UDP payloads that are no SIP are offered as media; where nobody takes
  them they are counted, but for those that a phone may have sent to a SIP port to keep a binding alive, which go on (and are
  counted further on).
- Nothing raises: what is not understood in a frame is counted by name.
- `restore(snapshot())` changes nothing of what follows.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from struct import Struct as Layout

import msgspec
from msgspec import Struct

from collectors.net import tcp
from collectors.net.frames import Span
from collectors.net.ip import SCTP, UDP, ends_text
from collectors.net.layers import Found, Layers, LayersState
from collectors.net.sctp import Association, Associations
from collectors.net.tcp import Reassembly
from collectors.sip.limits import Limits
from collectors.sip.names import METHODS
from collectors.sip.packets import SipPacket, is_keepalive, looks_like_sip
from collectors.sip.stream import SipStream

OnMedia = Callable[[int, bytes, bytes, int, int], bool]
"""(at_us, flow key, buffer, begin, end) of a datagram that is no SIP, uncopied; whether it was taken. The key is source and
destination address and both ports as they stand in the packet: 12 octets for IPv4, 36 for IPv6."""

VERSION = 1
"""Of the snapshot's form."""

FLOWS_MAX = 65_536
"""Pairs of addresses whose text is remembered; the table starts anew when it is full."""

_PLAIN = Layout(">12x3s5xHxB2x12sH")
"""Ethernet, IPv4, UDP: EtherType with IP version and header length, fragment field, protocol, addresses with ports, and the
datagram's length."""
_PLAIN_IP = b"\x08\x00\x45"
"""IPv4 without options."""
_PLAIN_BYTES = 42
_ETHERNET = 1
_FRAGMENT = 0x3FFF
"""Offset and more fragments; the don't-fragment bit does not matter."""
_STARTS = frozenset({b"SIP"} | {method[:3] for method in METHODS})
"""How the datagrams begin that go on without a closer look."""
_RTP = b"\x80"
"""RTP and RTCP have version 2 in their first two bits; no SIP and no keep-alive begins so."""

_TCP_LEAST = 5 << 4
"""The header's length in words of four octets stands in the upper half of its octet."""

_SIP_PORTS = frozenset((5060, 5061))
_PORTS = Layout(">HH")


class _State(Struct, array_like=True):
    version: int
    layers: LayersState
    tcp: dict[bytes, tcp.Stream[SipStream]]
    waiting: list[bytes]
    sctp: dict[bytes, Association]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_State).decode


class Dissector:
    """`counters` tells what was met, `frames` how many came, `at_us` the time of the last. `dedup`: whether frames that a
    capture holds twice are told once; None: where their link type says that it may hold them twice."""

    def __init__(
        self,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        on_media: OnMedia | None = None,
        *,
        dedup: bool | None = None,
    ) -> None:
        self.counters: dict[str, int] = Counter()
        self.frames = 0
        self.at_us = 0
        self.on_media = on_media
        self._dedup = bool(dedup)
        self._flows: dict[bytes, tuple[str, str]] = {}
        self._layers = Layers(limits, self.counters, dedup)
        self._tcp = Reassembly(
            limits, self.counters, lambda from_start: SipStream(limits.message_bytes, from_start=from_start)
        )
        self._sctp = Associations(limits, self.counters)

    def feed(self, at_us: int, link_type: int, frame: bytes) -> list[SipPacket]:
        """Take one frame; the messages that it completes."""
        return list(self.packets(((at_us, link_type, frame, 0, len(frame)),)))

    def packets(self, spans: Iterable[Span]) -> Iterator[SipPacket]:
        """The messages of many frames, as they are complete."""
        flows, unpack, counters, dedup = self._flows, _PLAIN.unpack_from, self.counters, self._dedup
        twice, on_media = self._layers.twice, self.on_media
        for at_us, link_type, buffer, begin, end in spans:
            self.frames += 1
            self.at_us = at_us
            if link_type == _ETHERNET and end - begin > _PLAIN_BYTES:
                kind, fragment, protocol, key, length = unpack(buffer, begin)
                if kind == _PLAIN_IP and protocol == 17 and not fragment & _FRAGMENT:
                    last = begin + 34 + length
                    payload = buffer[begin + _PLAIN_BYTES : last if last < end else end]
                    if payload[:3] in _STARTS:
                        if dedup and twice(at_us, (buffer[begin + 18 : begin + 20], key, payload)):
                            continue
                        if last > end:
                            counters["cut_off"] += 1
                        src, dst = flows.get(key) or self._flow(key)
                        yield SipPacket(at_us, "udp", src, dst, payload)
                        continue
                    if payload[:1] >= _RTP:
                        if dedup and twice(at_us, (buffer[begin + 18 : begin + 20], key, payload)):
                            continue
                        at = begin + _PLAIN_BYTES
                        if on_media is None or not on_media(at_us, key, buffer, at, at + len(payload)):
                            counters["other_udp"] += 1
                        continue
            found = self._layers.find(at_us, link_type, buffer[begin:end])
            if found is not None:
                yield from self._transport(at_us, found)

    def _transport(self, at_us: int, found: Found) -> Iterable[SipPacket]:
        protocol, src, dst, buffer, at, end = found
        key = src + dst + buffer[at : at + 4]
        if protocol == UDP:
            return self._datagram(at_us, key, buffer, at + 8, end)
        if protocol == SCTP:
            messages = self._sctp.packet(key, buffer[at:end])
            return [self._packet(at_us, "sctp", key, message) for message in messages if looks_like_sip(message)]
        _, _, sequence, _, words, flags = tcp.HEADER.unpack_from(buffer, at)
        if words < _TCP_LEAST:
            self.counters["bad_tcp"] += 1
            return ()
        return self._told(self._tcp.segment(at_us, key, sequence, flags, buffer[at + (words >> 4) * 4 : end]))

    def _datagram(self, at_us: int, key: bytes, buffer: bytes, at: int, end: int) -> tuple[SipPacket, ...]:
        if buffer[at : at + 1] < _RTP:
            payload = buffer[at:end]
            if looks_like_sip(payload) or (is_keepalive(payload) and _is_sip_port(key)):
                return (self._packet(at_us, "udp", key, payload),)
        if self.on_media is None or not self.on_media(at_us, key, buffer, at, end):
            self.counters["other_udp"] += 1
        return ()

    def _told(self, messages: list[tcp.Message[SipStream]]) -> list[SipPacket]:
        return [self._packet(at_us, reader.transport, flow, message) for at_us, flow, reader, message in messages]

    def _packet(self, at_us: int, transport: str, key: bytes, payload: bytes) -> SipPacket:
        src, dst = self._flows.get(key) or self._flow(key)
        return SipPacket(at_us, transport, src, dst, payload)

    def _flow(self, key: bytes) -> tuple[str, str]:
        """The two ends as text."""
        if len(self._flows) >= FLOWS_MAX:
            self._flows.clear()
        pair = self._flows[key] = ends_text(key)
        return pair

    def passed(self, at_us: int) -> list[SipPacket]:
        """Time has come to `at_us`, with or without a frame: what waited too long for bytes that did not come."""
        return self._told(self._tcp.overdue(at_us))

    def finish(self) -> list[SipPacket]:
        """No frame comes any more: what stood behind gaps; what stays unfinished is counted."""
        self._layers.finish()
        self._sctp.finish()
        return self._told(self._tcp.finish())

    def snapshot(self) -> bytes:
        """All that is known of unfinished fragments and streams."""
        state = _State(VERSION, self._layers.state(), self._tcp.streams, self._tcp.waiting, self._sctp.directions)
        return _encode(state)

    def restore(self, state: bytes) -> None:
        """Go on where `snapshot` stood. Raises ValueError where these bytes are no snapshot of this version."""
        try:
            known = _decode(state)
        except msgspec.DecodeError as fault:
            raise ValueError(f"these bytes are no state of a dissector: {fault}") from fault
        if known.version != VERSION:
            raise ValueError(f"the state has version {known.version}, this program reads version {VERSION}")
        self._layers.restore(known.layers)
        self._tcp.restore(known.tcp, known.waiting)
        self._sctp.restore(known.sctp)


def _is_sip_port(key: bytes) -> bool:
    """A keep-alive is one only where SIP is spoken."""
    return not _SIP_PORTS.isdisjoint(_PORTS.unpack_from(key, len(key) - 4))
