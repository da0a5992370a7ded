"""A run of HEP packets: decoded, handed to the SIP tracker, counted. Pure.

Laws
- What comes out depends on what is fed, its times of receipt and the ticks alone. `restore(snapshot())` changes nothing of
  what follows.
- Time is the senders' clock, brought to one by `Clocks`: while nothing arrives it runs on from the newest packet by the time
  that passes here, measured so that setting this machine's clock does not matter.
- Every packet is counted under exactly one of `sip`, `reports`, `keepalive`, `other_protocol` and `rejected`.
"""

import msgspec
from msgspec import Struct

from collectors.hep.clocks import Clocks, Sender
from collectors.hep.decode import SIP, Content, Malformed, decode, reject
from collectors.hep.framing import HepFramer
from collectors.hep.quality import reports
from collectors.io.origin import CHUNK, DATAGRAM, END, RESTART, UNKNOWN, Origin
from collectors.sip.heard import HeardStream
from collectors.sip.packets import SipPacket
from collectors.sip.tracker import Tracker

FAULTS_MAX = 100
"""Packets of one connection that could not be read, or had not the key, until it is cut: its sender speaks something else, or
guesses."""

UNFINISHED_MAX_US = 60_000_000
"""For how long a packet may be on its way: a sender writes it in one go, and TCP itself sends again for no longer."""

CONNECTIONS_MAX = 1_024
"""Connections of which something is known: those open, and those whose end found no room in the journal."""

COUNTERS = (
    "sip",
    "reports",
    "reports_unmatched",
    "keepalive",
    "other_protocol",
    "rejected",
    "auth_failed",
    "packets_unfinished",
)


class Connection(Struct, array_like=True):
    framer: HepFramer
    faults: int = 0


class State(Struct, frozen=True, array_like=True):
    """What a stream knows: the tracker's own snapshot, the newest packet's time, the senders' clocks, and open connections."""

    tracker: bytes
    newest_us: int
    senders: dict[str, Sender] = {}
    connections: dict[int, Connection] = {}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(State).decode


class HepStream(HeardStream):
    """`key`: what the packets' authentication key must be; empty: they need none. `clocks`: whether the senders' clocks are
    held against the times of receipt; those of a file say nothing."""

    def __init__(self, tracker: Tracker, key: bytes = b"", *, clocks: bool = True) -> None:
        super().__init__(tracker, COUNTERS)
        self._key = key
        self._clocks = Clocks(self._counts) if clocks else None
        self._connections: dict[int, Connection] = {}

    def feed(self, origin: Origin, data: bytes, received_us: int, position: str) -> None:
        """A datagram, or what a connection brought."""
        if origin.kind == DATAGRAM:
            self.packet(data, received_us, position, origin)
        elif origin.kind == CHUNK:
            self._chunk(origin, data, received_us, position)
        elif origin.kind == END:
            self._forget(origin.connection)
        elif origin.kind == RESTART:
            for connection in list(self._connections):
                self._forget(connection)

    def packet(self, data: bytes, received_us: int, position: str, origin: Origin = UNKNOWN) -> bool:
        """One packet; whether it could be read."""
        found = decode(data, self._key)
        if isinstance(found, Content):
            self._take(found, received_us, origin)
        elif isinstance(found, Malformed):
            self._refuse(data, found, position, received_us)
            return False
        else:
            self._counts["keepalive"] += 1
        return True

    def _take(self, found: Content, received_us: int, origin: Origin) -> None:
        at_us = found.at_us or received_us
        if self._clocks:
            at_us = self._clocks.instant(f"{origin.host} {found.capture_id}", found.at_us, received_us)
        if found.protocol == SIP:
            self._counts["sip"] += 1
            self._track(SipPacket(at_us, found.transport, found.src, found.dst, found.payload))
            return
        told = reports(found.payload, at_us, found.src, found.dst, found.correlation_id)
        self._counts["other_protocol" if told is None else "reports"] += 1
        for report in told or ():
            if not self._tracker.report(report):
                self._counts["reports_unmatched"] += 1

    def _chunk(self, origin: Origin, data: bytes, received_us: int, position: str) -> None:
        connection = self._connections.get(origin.connection)
        if connection is None:
            if len(self._connections) >= CONNECTIONS_MAX:
                self._forget(next(iter(self._connections)))
            connection = self._connections[origin.connection] = Connection(HepFramer())
        for piece in connection.framer.feed(data, received_us):
            if not self.packet(piece, received_us, position, origin):
                connection.faults += 1
        slow = connection.framer.rest and received_us - connection.framer.since_us > UNFINISHED_MAX_US
        if connection.faults > FAULTS_MAX or slow:
            self._to_cut.append(origin.connection)

    def _forget(self, number: int) -> None:
        connection = self._connections.pop(number, None)
        if connection and connection.framer.rest:
            self._counts["packets_unfinished"] += 1

    def _refuse(self, data: bytes, fault: Malformed, position: str, received_us: int) -> None:
        self._counts["rejected"] += 1
        self._counts["auth_failed"] += fault.reason == "auth_failed"
        if self._has_room_for_reject():
            self._rejects.append(reject(data, fault, position, received_us, self._key))

    def finish(self) -> None:
        """Nothing will come any more."""
        self._tracker.finish(self._newest_us)

    def snapshot(self) -> bytes:
        """All that is known; drain first."""
        senders = self._clocks.senders if self._clocks else {}
        return _encode(State(self._tracker.snapshot(), self._newest_us, senders, self._connections))

    def restore(self, state: bytes) -> None:
        """Raises ValueError where these bytes are no snapshot of this version."""
        try:
            known = _decode(state)
        except msgspec.DecodeError as error:
            raise ValueError(f"no snapshot of a HEP stream: {error}") from error
        self._tracker.restore(known.tracker)
        self._newest_us = known.newest_us
        self._connections = known.connections
        if self._clocks:
            self._clocks.senders = known.senders
