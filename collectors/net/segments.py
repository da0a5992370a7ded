"""The segments of one direction of a TCP connection, put in order (RFC 9293 section 3.4).

Laws
- Segments may come twice, overlap, come out of order, or not come at all. What was captured is given in order, once.
- A segment is given when all before it was given, or when what is missing is given up; then its run says that something is
  missing before it, and keeps the time of its own capture.
- What is kept is bounded: GAP_SEGMENTS, and the octets that `take` is told.
"""

from msgspec import Struct

GAP_SEGMENTS = 64
"""Segments behind a gap until the missing one counts as never captured: the sender's window would long be closed."""

Run = tuple[int, bytes, bool]
"""When it was complete, octets that follow those before, and whether octets are missing between."""

WRAP, _HALF = 2**32, 2**31


class Segments(Struct, array_like=True):
    """`first` is the sequence number that the stream began with where that was seen, else the first one met; `next` the one
    expected. `early` are the segments behind a gap: sequence number -> when captured, octets."""

    first: int
    next: int
    early: dict[int, tuple[int, bytes]] = {}
    early_bytes: int = 0
    waiting_since_us: int = 0
    """When the first of them came."""

    def take(self, at_us: int, sequence: int, payload: bytes, span_bytes: int) -> list[Run]:
        """What is in order now. A segment further than `span_bytes` from what is expected begins anew: much was not captured,
        or this is another connection."""
        ahead = (sequence - self.next) % WRAP
        behind = WRAP - ahead if ahead >= _HALF else 0
        if max(behind, ahead if not behind else 0) > span_bytes:
            return self._begin_anew(at_us, sequence, payload)
        if behind or not ahead:
            rest = payload[behind:]
            return self._in_order(at_us, rest, False) if rest else []
        self._keep(at_us, sequence, payload)
        return self.skip_gap() if len(self.early) > GAP_SEGMENTS or self.early_bytes > span_bytes else []

    def skip_gap(self) -> list[Run]:
        """Give up what is missing first."""
        sequence = min(self.early, key=lambda at: (at - self.next) % WRAP)
        at_us, payload = self._take_early(sequence)
        self.next = sequence
        runs = self._in_order(at_us, payload, True)
        self.waiting_since_us = min((at for at, _ in self.early.values()), default=0)
        return runs

    def flush(self) -> list[Run]:
        """Give up all that is missing."""
        runs: list[Run] = []
        while self.early:
            runs += self.skip_gap()
        return runs

    def drop(self) -> None:
        """Forget what stands behind gaps; what was expected still is."""
        self.early, self.early_bytes, self.waiting_since_us = {}, 0, 0

    def is_beginning(self, sequence: int, span_bytes: int) -> bool:
        """Whether a SYN whose stream begins with `sequence` is that of this stream: a repetition, or one that came late."""
        return (self.first - sequence) % WRAP <= span_bytes

    def _begin_anew(self, at_us: int, sequence: int, payload: bytes) -> list[Run]:
        runs = self.flush()
        self.first = self.next = sequence
        return runs + self._in_order(at_us, payload, True)

    def _keep(self, at_us: int, sequence: int, payload: bytes) -> None:
        _, known = self.early.get(sequence, (0, b""))
        if len(payload) > len(known):
            if not self.early:
                self.waiting_since_us = at_us
            self.early[sequence] = at_us, payload
            self.early_bytes += len(payload) - len(known)

    def _in_order(self, at_us: int, payload: bytes, missing: bool) -> list[Run]:
        """What is next in order, and what came early and follows it."""
        runs = [(at_us, payload, missing)]
        self.next = (self.next + len(payload)) % WRAP
        while self.early and (found := self._following()):
            early_us, payload = found
            runs.append((max(at_us, early_us), payload, False))
            self.next = (self.next + len(payload)) % WRAP
        return runs

    def _following(self) -> tuple[int, bytes] | None:
        """An early segment that begins at or before what is expected, less what of it is known."""
        for sequence in list(self.early):
            behind = (self.next - sequence) % WRAP
            if behind < _HALF:
                at_us, payload = self._take_early(sequence)
                if len(payload) > behind:
                    return at_us, payload[behind:]
        return None

    def _take_early(self, sequence: int) -> tuple[int, bytes]:
        found = self.early.pop(sequence)
        self.early_bytes -= len(found[1])
        return found
