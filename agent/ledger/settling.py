"""Calls that are still gathering legs: kept until no news came for the settling time, then given out to be metered.

Laws
- Pure: what is known is handed in, time is an argument. All of it is also in the ledger (tables `leg`, `settling`), so that it
  can be built anew at any time.
- A call settles by the source's own clock, leg by leg in the order of the source, so that a file read late, in pieces of any
  size, settles as it would have live. Only where the source has fallen silent does the wall clock decide.
- At most MAX_SETTLING calls wait at once; beyond that the ones longest untouched are given out early and counted: their
  later legs then come as corrections.
"""

from collections import OrderedDict

from msgspec import Struct

from collectors.records import Leg

MAX_SETTLING = 20_000
"""Calls of one source waiting at once: far above the busiest PBX, and about 40 MB at the worst."""


AHEAD_MAX_MS = 24 * 3600 * 1000
"""A wrong time zone is at most this far ahead. One record beyond it (of the year 2099, say) must not stop the source's clock,
for it never goes back."""


class Gathering(Struct, gc=False):
    """One call while it gathers. `news_at_ms` is what the source's clock showed when its last leg came, `touched_ms` what the
    wall clock showed. `stored`: the table `settling` says the same."""

    legs: dict[str, Leg]
    news_at_ms: int
    touched_ms: int
    stored: bool = False


class Settling:
    """The waiting calls of one source. `settle_ms` is how long a call waits after its last leg came."""

    def __init__(self, settle_ms: int, source_time_ms: int = 0) -> None:
        self.settle_ms = settle_ms
        self.source_time_ms = source_time_ms
        self.calls: OrderedDict[str, Gathering] = OrderedDict()

    def settled(self, call_key: str) -> bool:
        """Whether a waiting call has settled already, so that the next leg finds it metered."""
        call = self.calls.get(call_key)
        return call is not None and call.news_at_ms <= self.source_time_ms - self.settle_ms

    def start(self, call_key: str, legs: dict[str, Leg], news_at_ms: int, now_ms: int) -> Gathering:
        """Let a call that was metered before, or that waited before a restart, gather again."""
        call = self.calls[call_key] = Gathering(legs, news_at_ms, now_ms)
        return call

    def heard(self, at_ms: int, now_ms: int) -> None:
        """The source's clock shows `at_ms`; a time that is far ahead of the wall clock is not believed."""
        if self.source_time_ms < at_ms <= now_ms + AHEAD_MAX_MS:
            self.source_time_ms = at_ms

    def add(self, leg: Leg, now_ms: int) -> None:
        if leg.ended_at_ms > self.source_time_ms:
            self.heard(leg.ended_at_ms, now_ms)
        call = self.calls.get(leg.call_key)
        if call is None:
            self.calls[leg.call_key] = Gathering({leg.key: leg}, self.source_time_ms, now_ms)
            return
        call.legs[leg.key] = leg
        call.news_at_ms = self.source_time_ms
        call.touched_ms = now_ms
        call.stored = False
        self.calls.move_to_end(leg.call_key)

    def due(self, now_ms: int) -> list[str]:
        """Keys of the calls that have settled, oldest first."""
        horizon = self.source_time_ms - self.settle_ms
        silent = now_ms - self.settle_ms
        overflow = len(self.calls) - MAX_SETTLING
        return [
            key
            for place, (key, call) in enumerate(self.calls.items())
            if call.news_at_ms <= horizon or call.touched_ms <= silent or place < overflow
        ]
