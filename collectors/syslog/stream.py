"""A run of syslog messages: unwrapped, put together by device, handed to the SIP tracker, counted. Pure.

Laws
- What comes out depends on what is fed, its times of receipt and the ticks alone. `restore(snapshot())` changes nothing of
  what follows.
- A message is timed by its receipt: devices write their logs' times to the second, without a year, in whatever zone.
- A device is the address that sends its log. Where a list of senders is given, nobody else is listened to.
"""

from collections.abc import Sequence
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Network, ip_address

import msgspec
from msgspec import Struct

from collectors.io.origin import CHUNK, DATAGRAM, END, Origin
from collectors.records import EXCERPT_MAX_BYTES, Reject
from collectors.sip.heard import HeardStream
from collectors.sip.packets import SipPacket
from collectors.sip.tracker import Tracker
from collectors.syslog.assemble import Assembly, Found, Whole
from collectors.syslog.envelope import SyslogFramer, unwrap

DEVICES_MAX = 1_024
"""Of each one unfinished message is kept, 64 kB at most; a site of 1,000 phones logs SIP of a few of them."""
CONNECTIONS_MAX = 1_024
"""Connections of which something is known: those open, and those whose end found no room in the journal."""

STREAMS = frozenset(("tcp", "tls", "ws", "wss"))

COUNTERS = ("texts", "sip", "rejected", "senders_refused", "devices_evicted", "texts_too_long")

Network = IPv4Network | IPv6Network


class State(Struct, frozen=True, array_like=True):
    tracker: bytes
    newest_us: int
    devices: dict[str, Assembly] = {}
    connections: dict[int, SyslogFramer] = {}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(State).decode


class SyslogStream(HeardStream):
    """`senders`: the addresses that are listened to; empty: all."""

    def __init__(self, tracker: Tracker, senders: Sequence[Network] = ()) -> None:
        super().__init__(tracker, COUNTERS)
        self._senders = senders
        self._devices: dict[str, Assembly] = {}
        self._connections: dict[int, SyslogFramer] = {}

    def feed(self, origin: Origin, data: bytes, received_us: int, position: str) -> None:
        """A datagram is one message; of a connection any run of octets comes."""
        if origin.kind == DATAGRAM:
            if self._listens_to(origin.host):
                self.text(origin.host, data, received_us, position)
        elif origin.kind == CHUNK:
            if self._listens_to(origin.host):
                self._chunk(origin, data, received_us, position)
            else:
                self._to_cut.append(origin.connection)
        elif origin.kind == END:
            self._connections.pop(origin.connection, None)
        else:
            self._connections.clear()

    def _listens_to(self, host: str) -> bool:
        if not self._senders:
            return True
        if host and any(ip_address(host) in network for network in self._senders):
            return True
        self._counts["senders_refused"] += 1
        return False

    def _chunk(self, origin: Origin, data: bytes, received_us: int, position: str) -> None:
        framer = self._connections.get(origin.connection)
        if framer is None:
            if len(self._connections) >= CONNECTIONS_MAX:
                del self._connections[next(iter(self._connections))]
            framer = self._connections[origin.connection] = SyslogFramer()
        dropped = framer.dropped
        for message in framer.feed(data):
            self.text(origin.host, message, received_us, position)
        self._counts["texts_too_long"] += framer.dropped - dropped

    def text(self, device: str, message: bytes, received_us: int, position: str) -> None:
        """One syslog message of a device."""
        self._counts["texts"] += 1
        wrapped = unwrap(message)
        assembly = self._assembly(device)
        address = f"[{device}]" if ":" in device else device
        for found in assembly.feed(wrapped.text, device, received_us, follows=not wrapped.head):
            self._take(found, address, received_us, position)

    def _assembly(self, device: str) -> Assembly:
        assembly = self._devices.pop(device, None)
        if assembly is None:
            assembly = Assembly()
            if len(self._devices) >= DEVICES_MAX:
                del self._devices[next(iter(self._devices))]
                self._counts["devices_evicted"] += 1
        self._devices[device] = assembly
        return assembly

    def _take(self, found: Found, address: str, at_us: int, position: str) -> None:
        own = f"{address or '0.0.0.0'}:0"
        if isinstance(found, Whole):
            self._counts["sip"] += 1
            src, dst = (own, found.peer) if found.sent else (found.peer, own)
            transport = found.transport if found.transport in STREAMS else "udp"
            self._track(SipPacket(at_us, transport, src, dst, found.message))
            return
        self._counts["rejected"] += 1
        if self._has_room_for_reject():
            self._rejects.append(
                Reject(
                    key=blake2b(f"{position} {found.reason} ".encode() + found.excerpt, digest_size=16).hexdigest(),
                    reason=found.reason,
                    message=f"{address}: {found.message}",
                    excerpt=found.excerpt[:EXCERPT_MAX_BYTES],
                    position=position,
                    at_ms=at_us // 1000,
                )
            )

    def _flush(self, at_us: int) -> None:
        for device, assembly in self._devices.items():
            for found in assembly.flush(device):
                self._take(found, f"[{device}]" if ":" in device else device, at_us, "end")

    def tick(self, idle_us: int) -> None:
        """Nothing has arrived for `idle_us`: what is unfinished will not be finished."""
        self._flush(self._newest_us)
        super().tick(idle_us)

    def finish(self) -> None:
        """Nothing will come any more."""
        self._flush(self._newest_us)
        self._tracker.finish(self._newest_us)

    def snapshot(self) -> bytes:
        """All that is known; drain first."""
        return _encode(State(self._tracker.snapshot(), self._newest_us, self._devices, self._connections))

    def restore(self, state: bytes) -> None:
        """Raises ValueError where these bytes are no snapshot of this version."""
        try:
            known = _decode(state)
        except msgspec.DecodeError as error:
            raise ValueError(f"no snapshot of a syslog stream: {error}") from error
        self._tracker.restore(known.tracker)
        self._newest_us = known.newest_us
        self._devices, self._connections = known.devices, known.connections
