"""Frames that a capture holds twice: the loopback and "any" interfaces and mirrored ports deliver both ways of a packet.

Laws
- A datagram is a duplicate where its IP identification, its addresses, ports and payload came within WINDOW_US before. So
  the same message on another hop (other addresses) is none, nor a SIP retransmission (T1 is 500 ms, RFC 3261 section 17.1.1.1).
- TCP and SCTP are told apart by their own sequence numbers and are not looked at here.
- Bounded: two generations of marks, a number each, of WINDOW_US or MARKS_MAX at most. They do not outlive a restart.
"""

from collections.abc import Hashable

WINDOW_US = 50_000
"""A mirror gives both copies within a millisecond; a busy capture may delay one."""

MARKS_MAX = 65_536
"""A million datagrams a second for the time of the window."""


class Duplicates:
    def __init__(self) -> None:
        self._since_us = 0
        self._new: dict[int, int] = {}
        self._old: dict[int, int] = {}

    def seen(self, at_us: int, datagram: Hashable) -> bool:
        """Whether this datagram came within the window before; it is known from now on."""
        if not 0 <= at_us - self._since_us < WINDOW_US or len(self._new) >= MARKS_MAX:
            self._since_us, self._old, self._new = at_us, self._new, {}
        mark = hash(datagram)
        before_us = self._new.get(mark)
        if before_us is None:
            before_us = self._old.get(mark)
        self._new[mark] = at_us
        return before_us is not None and abs(at_us - before_us) <= WINDOW_US
