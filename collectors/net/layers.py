"""From a captured frame to the transport packet in it, through VLANs, tunnels and fragments.

Laws
- `find` gives what it found or counts why there is nothing; it never raises, whatever the bytes.
- Lengths come from the innermost headers, so that padding is not payload; what was cut off by the capture's snap length is
  read as far as it goes, and counted.
- What is kept is bounded: unfinished fragments, and the marks of the last datagrams where duplicates are looked for.
"""

from collections.abc import MutableMapping
from struct import Struct as Layout
from struct import error as LayoutError

from msgspec import Struct

from collectors.net.bounds import Bounds
from collectors.net.duplicates import Duplicates
from collectors.net.fragments import IPV4_TIMEOUT_US, IPV6_TIMEOUT_US, Fragments, Unfinished
from collectors.net.ip import SCTP, TCP, UDP, Header, after_extensions, ipv4, ipv6
from collectors.net.links import IPV4, IPV6, LINK_TYPES, TWICE, NotUnderstood, Step
from collectors.net.tunnels import ETHERTYPES, IP_PROTOCOLS, UDP_PORTS

Found = tuple[int, bytes, bytes, bytes, int, int]
"""Protocol number, source and destination address (packed), a buffer, where the transport header begins therein, and where
its payload ends."""

LAYERS_MAX = 24
"""Headers within each other: two tags, a tunnel with a tag and another tunnel in it come to ten. A frame made to nest for
ever ends here."""

HEADER_BYTES = {UDP: 8, TCP: 20, SCTP: 12}

_PORT, _LENGTH = Layout(">2xH"), Layout(">4xH")
"""UDP's destination port, and its length."""


class LayersState(Struct, array_like=True):
    ipv4: dict[bytes, Unfinished] = {}
    ipv6: dict[bytes, Unfinished] = {}


class Layers:
    """`duplicates`: whether what a capture holds twice is told once; None: where its link type says that it may."""

    def __init__(self, bounds: Bounds, counters: MutableMapping[str, int], duplicates: bool | None = None) -> None:
        self.counters = counters
        self._duplicates = Duplicates()
        self._dedup = duplicates
        self._ipv4 = Fragments(bounds, counters, timeout_us=IPV4_TIMEOUT_US, void_overlaps=False)
        self._ipv6 = Fragments(bounds, counters, timeout_us=IPV6_TIMEOUT_US, void_overlaps=True)

    def find(self, at_us: int, link_type: int, frame: bytes) -> Found | None:
        link = LINK_TYPES.get(link_type)
        try:
            if link is None:
                raise NotUnderstood("link_type")
            kind, at = link(frame, 0)
            return self._walk(at_us, frame, kind, at, link_type in TWICE if self._dedup is None else self._dedup)
        except NotUnderstood as reason:
            self.counters[str(reason)] += 1
        except (IndexError, LayoutError):
            self.counters["cut_off"] += 1
        return None

    def _walk(self, at_us: int, frame: bytes, kind: int, at: int, dedup: bool) -> Found | None:
        end, cut = len(frame), False
        for _ in range(LAYERS_MAX):
            if kind != IPV4 and kind != IPV6:
                kind, at = _next_header(frame, kind, at)
                continue
            header = ipv4(frame, at, end) if kind == IPV4 else ipv6(frame, at, end)
            protocol, src, dst, at, whole, ident, fragment = header
            cut, end = cut or whole > end, min(whole, end)
            if fragment:
                if cut:
                    raise NotUnderstood("cut_off")
                joined = self._joined(at_us, kind, header, frame[at:end], dedup)
                if joined is None:
                    return None
                protocol, frame, at = joined
                end = len(frame)
            inner = _tunnelled(frame, protocol, at)
            if inner is None:
                found = protocol, src, dst, frame, at, _payload_end(frame, protocol, at, end)
                if cut:
                    self.counters["cut_off"] += 1
                return None if dedup and self._is_twice(at_us, ident, found) else found
            self.counters["tunnelled"] += 1
            kind, at = inner
        raise NotUnderstood("too_deep")

    def _joined(self, at_us: int, kind: int, header: Header, data: bytes, dedup: bool) -> tuple[int, bytes, int] | None:
        """Protocol, payload and where what it carries begins, of a datagram whose fragments are all there now."""
        protocol, src, dst, _, _, ident, fragment = header
        if dedup and self.twice(at_us, (ident, fragment, src, dst, data)):
            return None
        offset, more = fragment & 0xFFF8, bool(fragment & 1)
        if kind == IPV4:
            key = src + dst + ident.to_bytes(2, "big") + bytes((protocol,))
            joined = self._ipv4.add(at_us, key, offset, more, protocol, data)
            return (*joined, 0) if joined is not None else None
        joined = self._ipv6.add(at_us, src + dst + ident.to_bytes(4, "big"), offset, more, protocol, data)
        if joined is None:
            return None
        protocol, at = after_extensions(joined[1], 0, joined[0])
        return protocol, joined[1], at

    def _is_twice(self, at_us: int, ident: int, found: Found) -> bool:
        protocol, src, dst, frame, at, end = found
        mark = (ident & 0xFFFF).to_bytes(2, "big"), src + dst + frame[at : at + 4], frame[at + 8 : end]
        return protocol == UDP and self.twice(at_us, mark)

    def twice(self, at_us: int, datagram: tuple[int | bytes, ...]) -> bool:
        """Whether this datagram, told by its identification, ends and payload, was there just before."""
        if not self._duplicates.seen(at_us, datagram):
            return False
        self.counters["duplicate_frames"] += 1
        return True

    def finish(self) -> None:
        """No frame comes any more: what is unfinished is counted."""
        self._ipv4.finish()
        self._ipv6.finish()

    def state(self) -> LayersState:
        return LayersState(self._ipv4.unfinished, self._ipv6.unfinished)

    def restore(self, state: LayersState) -> None:
        self._ipv4.restore(state.ipv4)
        self._ipv6.restore(state.ipv6)


def _next_header(frame: bytes, kind: int, at: int) -> Step:
    decoder = ETHERTYPES.get(kind)
    if decoder is None:
        raise NotUnderstood("not_ip")
    return decoder(frame, at)


def _tunnelled(frame: bytes, protocol: int, at: int) -> Step | None:
    """What a tunnel carries; None where this is none."""
    if protocol == UDP:
        tunnel = UDP_PORTS.get(_PORT.unpack_from(frame, at)[0])
        return tunnel(frame, at + HEADER_BYTES[UDP]) if tunnel is not None else None
    decoder = IP_PROTOCOLS.get(protocol)
    return decoder(frame, at) if decoder is not None else None


def _payload_end(frame: bytes, protocol: int, at: int, end: int) -> int:
    """Where a transport's payload ends; UDP tells that itself."""
    size = HEADER_BYTES.get(protocol)
    if size is None:
        raise NotUnderstood("other_protocol")
    if at + size > end:
        raise NotUnderstood("cut_off")
    if protocol == UDP:
        length = _LENGTH.unpack_from(frame, at)[0]
        return min(end, at + length) if length >= size else end
    return end
