"""A run of HEP datagrams: decoded, handed to the SIP tracker, counted. Pure.

Laws
- What comes out depends on the datagrams, their times of receipt and the ticks alone.
- Time is the senders' clock: while nothing arrives it runs on from the newest packet by the time that passes here, measured
  so that setting this machine's clock does not matter.
- Every datagram is counted under exactly one of `sip`, `keepalive`, `other_protocol` and `rejected`.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from collectors.hep.decode import Ignored, Malformed, decode, reject
from collectors.records import Record, Reject
from collectors.sip.packets import SipPacket
from collectors.sip.tracker import Tracker

REJECTS_MAX = 1_000
"""Rejects kept between two drains, as the tracker does: anybody who can reach the port can send rubbish. More are only
counted."""

CLOCK_STEP_US = 3_600_000_000
"""A packet that is older than the newest by more than an hour tells that the sender's clock was set back; by less, that
two senders' clocks differ or a datagram came late."""

COUNTERS = ("sip", "keepalive", "other_protocol", "rejected", "auth_failed", "rejects_not_kept")


class State(Struct, frozen=True, array_like=True):
    """What a stream knows: the tracker's own snapshot, and the newest packet's time."""

    tracker: bytes
    newest_us: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(State).decode


class HepStream:
    """`key`: what the datagrams' authentication key must be; empty: they need none."""

    def __init__(self, tracker: Tracker, key: bytes = b"") -> None:
        self.counters = dict.fromkeys(COUNTERS, 0)
        self._tracker = tracker
        self._key = key
        self._rejects: list[Reject] = []
        self._newest_us = 0

    def feed(self, data: bytes, received_us: int, position: str) -> None:
        """One datagram. `position`: where it stands, for the reject that it may become."""
        found = decode(data, received_us, self._key)
        if isinstance(found, SipPacket):
            self.counters["sip"] += 1
            if not 0 <= self._newest_us - found.at_us <= CLOCK_STEP_US:
                self._newest_us = found.at_us
            self._tracker.feed(found)
        elif isinstance(found, Ignored):
            self.counters[found.value] += 1
        else:
            self._refuse(data, found, position, received_us)

    def _refuse(self, data: bytes, fault: Malformed, position: str, received_us: int) -> None:
        self.counters["rejected"] += 1
        self.counters["auth_failed"] += fault.reason == "auth_failed"
        if len(self._rejects) < REJECTS_MAX:
            self._rejects.append(reject(data, fault, position, received_us, self._key))
        else:
            self.counters["rejects_not_kept"] += 1

    def tick(self, idle_us: int) -> None:
        """Nothing has arrived for `idle_us`."""
        if self._newest_us:
            self._tracker.tick(self._newest_us + idle_us)

    @property
    def sip_counters(self) -> dict[str, int]:
        """What the SIP in the datagrams came to, as the tracker counts it."""
        return self._tracker.counters

    @property
    def newest_us(self) -> int:
        """The newest packet's own time; 0 before the first."""
        return self._newest_us

    def drain(self) -> tuple[Sequence[Record], Sequence[Reject]]:
        """What became final since the last drain."""
        records, rejects = self._tracker.drain()
        rejects = [*self._rejects, *rejects]
        self._rejects = []
        return records, rejects

    def finish(self) -> None:
        """No datagram will come any more."""
        self._tracker.finish(self._newest_us)

    def snapshot(self) -> bytes:
        """All that is known; drain first."""
        return _encode(State(self._tracker.snapshot(), self._newest_us))

    def restore(self, state: bytes) -> None:
        """Raises ValueError where these bytes are no snapshot of this version."""
        try:
            known = _decode(state)
        except msgspec.DecodeError as error:
            raise ValueError(f"no snapshot of a HEP stream: {error}") from error
        self._tracker.restore(known.tracker)
        self._newest_us = known.newest_us
