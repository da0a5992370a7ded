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
from collectors.net.links import IPV4, IPV6, LINK_TYPES, TWICE, NotUnderstood
from collectors.net.tunnels import ETHERTYPES, IP_PROTOCOLS, UDP_PORTS

Found = tuple[int, bytes, bytes, bytes, int, int]
"""Protocol number, source and destination address (packed), a buffer, where the transport header begins therein, and where
its payload ends."""

LAYERS_MAX = 24
"""Headers within each other: two tags, a tunnel with a tag and another tunnel in it come to ten. A frame made to nest for
ever ends here."""

HEADER_BYTES = {UDP: 8, TCP: 20, SCTP: 12}

_TUNNELS = frozenset(IP_PROTOCOLS)
_UDP = Layout(">HHH")


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
                decoder = ETHERTYPES.get(kind)
                if decoder is None:
                    raise NotUnderstood("not_ip")
                kind, at = decoder(frame, at)
                continue
            header = ipv4(frame, at, end) if kind == IPV4 else ipv6(frame, at, end)
            protocol, src, dst, at, whole, ident, fragment = header
            if whole > end:
                cut = True
            else:
                end = whole
            if fragment:
                if cut:
                    raise NotUnderstood("cut_off")
                if dedup and self.twice(at_us, (ident, fragment, src, dst, frame[at:end])):
                    return None
                whole_datagram = self._joined(at_us, kind, header, frame[at:end])
                if whole_datagram is None:
                    return None
                protocol, frame = whole_datagram
                at, end = 0, len(frame)
                if kind == IPV6:
                    protocol, at = after_extensions(frame, 0, protocol)
            if protocol in _TUNNELS:
                kind, at = IP_PROTOCOLS[protocol](frame, at)
                self.counters["tunnelled"] += 1
                continue
            if protocol == UDP:
                _, port, length = _UDP.unpack_from(frame, at)
                tunnel = UDP_PORTS.get(port)
                inner = tunnel(frame, at + 8) if tunnel is not None else None
                if inner is not None:
                    kind, at = inner
                    self.counters["tunnelled"] += 1
                    continue
                if length >= 8:
                    end = min(end, at + length)
            self._check(protocol, at, end, cut)
            if dedup and protocol == UDP:
                mark = (ident & 0xFFFF).to_bytes(2, "big"), src + dst + frame[at : at + 4], frame[at + 8 : end]
                if self.twice(at_us, mark):
                    return None
            return protocol, src, dst, frame, at, end
        raise NotUnderstood("too_deep")

    def _check(self, protocol: int, at: int, end: int, cut: bool) -> None:
        size = HEADER_BYTES.get(protocol)
        if size is None:
            raise NotUnderstood("other_protocol")
        if at + size > end:
            raise NotUnderstood("cut_off")
        if cut:
            self.counters["cut_off"] += 1

    def twice(self, at_us: int, datagram: tuple[int | bytes, ...]) -> bool:
        """Whether this datagram, told by its identification, ends and payload, was there just before."""
        if not self._duplicates.seen(at_us, datagram):
            return False
        self.counters["duplicate_frames"] += 1
        return True

    def _joined(self, at_us: int, kind: int, header: Header, data: bytes) -> tuple[int, bytes] | None:
        protocol, src, dst, _, _, ident, fragment = header
        offset, more = fragment & 0xFFF8, bool(fragment & 1)
        if kind == IPV4:
            key = src + dst + ident.to_bytes(2, "big") + bytes((protocol,))
            return self._ipv4.add(at_us, key, offset, more, protocol, data)
        return self._ipv6.add(at_us, src + dst + ident.to_bytes(4, "big"), offset, more, protocol, data)

    def finish(self) -> None:
        """No frame comes any more: what is unfinished is counted."""
        self._ipv4.finish()
        self._ipv6.finish()

    def state(self) -> LayersState:
        return LayersState(self._ipv4.unfinished, self._ipv6.unfinished)

    def restore(self, state: LayersState) -> None:
        self._ipv4.restore(state.ipv4)
        self._ipv6.restore(state.ipv6)
