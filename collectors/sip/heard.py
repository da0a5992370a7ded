"""What streams of packets that others send us (HEP, syslog) have in common: a tracker, rejects, and time. Pure.

Laws
- Time is that of the packets; while nothing arrives it runs on from the newest by the time that passes here.
- Rejects between two drains are bounded; more are only counted.
"""

from collections.abc import Sequence

from collectors.records import Record, Reject
from collectors.sip.packets import SipPacket
from collectors.sip.tracker import Tracker

REJECTS_MAX = 1_000
"""Rejects kept between two drains, as the tracker does: anybody who can reach the port can send rubbish."""

NOT_KEPT = "rejects_not_kept"
"""Counts those beyond."""

CLOCK_STEP_US = 3_600_000_000
"""A packet that is older than the newest by more than an hour tells that the sender's clock was set back; by less, that
two senders' clocks differ or a datagram came late."""


class HeardStream:
    """`names`: of the counters that the stream has of its own."""

    def __init__(self, tracker: Tracker, names: Sequence[str]) -> None:
        self._tracker = tracker
        self._counts = dict.fromkeys((*names, NOT_KEPT), 0)
        self._rejects: list[Reject] = []
        self._to_cut: list[int] = []
        self._newest_us = 0

    def _track(self, packet: SipPacket) -> None:
        if not 0 <= self._newest_us - packet.at_us <= CLOCK_STEP_US:
            self._newest_us = packet.at_us
        self._tracker.feed(packet)

    def _has_room_for_reject(self) -> bool:
        if len(self._rejects) < REJECTS_MAX:
            return True
        self._counts[NOT_KEPT] += 1
        return False

    def to_cut(self) -> Sequence[int]:
        """Connections, since last asked, whose senders are slow or hostile."""
        found, self._to_cut = self._to_cut, []
        return found

    def tick(self, idle_us: int) -> None:
        """Nothing has arrived for `idle_us`."""
        if self._newest_us:
            self._tracker.tick(self._newest_us + idle_us)

    @property
    def counters(self) -> dict[str, int]:
        """The stream's own, and what the SIP in it came to, as the tracker counts it."""
        return {**self._counts, **{f"sip_{name}": count for name, count in self._tracker.counters.items()}}

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
