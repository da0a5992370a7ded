"""A run of live frames: dissected, handed to the SIP tracker, counted. Pure.

Laws
- What comes out depends on the frames, their times of capture and the ticks alone.
- Time is the capture's clock. While nothing arrives it runs on from the newest frame by the time that passes here, measured
  so that setting this machine's clock does not matter; frames without SIP move it as well.
- `restore(snapshot())` changes nothing of what follows.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec import Struct

from collectors.records import Record, Reject
from collectors.sip.dissect import Dissector
from collectors.sip.live.source import Frame
from collectors.sip.packets import SipPacket
from collectors.sip.tracker import Tracker

CLOCK_STEP_US = 3_600_000_000
"""A frame that is older than the newest by more than an hour tells that the clock was set back; by less, that two sources of
frames differ a little."""


class _State(Struct, frozen=True, array_like=True):
    dissector: bytes
    tracker: bytes
    newest_us: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_State).decode


class LiveStream:
    def __init__(self, dissector: Dissector, tracker: Tracker) -> None:
        self._dissector = dissector
        self._tracker = tracker
        self._newest_us = 0
        self._taken = 0

    def feed(self, taken: Sequence[Frame | SipPacket]) -> int:
        """Take what was captured, in its order; gives how many octets that was."""
        track = self._tracker.feed
        size = 0
        for packet in self._packets(taken):
            track(packet)
        for one in taken:
            size += len(one.data if isinstance(one, Frame) else one.payload)
        if taken:
            self._taken += len(taken)
            self._time_is(taken[-1].at_us)
        return size

    def _packets(self, taken: Sequence[Frame | SipPacket]) -> Iterable[SipPacket]:
        """A source gives either frames or packets, never both."""
        frames = [(one.at_us, one.link_type, one.data, 0, len(one.data)) for one in taken if isinstance(one, Frame)]
        if frames:
            return self._dissector.packets(frames)
        return [one for one in taken if isinstance(one, SipPacket)]

    def _time_is(self, at_us: int) -> None:
        if not 0 <= self._newest_us - at_us <= CLOCK_STEP_US:
            self._newest_us = at_us
        self._pass(at_us)
        self._tracker.passed(at_us)

    def _pass(self, at_us: int) -> None:
        for packet in self._dissector.passed(at_us):
            self._tracker.feed(packet)

    def tick(self, idle_us: int) -> None:
        """Nothing has arrived for `idle_us`."""
        if self._newest_us:
            self._pass(self._newest_us + idle_us)
            self._tracker.tick(self._newest_us + idle_us)

    @property
    def newest_us(self) -> int:
        """The newest frame's time; 0 before the first."""
        return self._newest_us

    @property
    def counters(self) -> dict[str, int]:
        return {**self._dissector.counters, **self._tracker.counters, "packets": self._taken}

    def drain(self) -> tuple[Sequence[Record], Sequence[Reject]]:
        """What became final since the last drain."""
        return self._tracker.drain()

    def snapshot(self) -> bytes:
        """All that is known; drain first."""
        return _encode(_State(self._dissector.snapshot(), self._tracker.snapshot(), self._newest_us))

    def restore(self, state: bytes) -> None:
        """Raises ValueError where these bytes are no snapshot of this version."""
        try:
            known = _decode(state)
        except msgspec.DecodeError as error:
            raise ValueError(f"no snapshot of a live stream: {error}") from error
        self._tracker.restore(known.tracker)
        self._dissector.restore(known.dissector)
        self._newest_us = known.newest_us


def slices(taken: Sequence[Frame | SipPacket], size: int) -> Iterator[Sequence[Frame | SipPacket]]:
    """`taken` in pieces of `size`, so that whoever feeds them can let others have a turn in between."""
    return (taken[at : at + size] for at in range(0, len(taken), size))
