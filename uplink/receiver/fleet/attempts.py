"""How often somebody may try to log in: counts of failures by address and by name. Pure: the time comes in.

Laws
- An attempt counts when it begins, and is taken back when it succeeds: a thousand at once are a thousand.
- A name is held up later than an address, so that one stranger cannot lock an operator out from one place.
- The tables are bounded; the one that was quiet longest is forgotten first.
"""

from collections import OrderedDict

from msgspec import Struct

WINDOW_MS = 900_000
PER_ADDRESS = 10
PER_NAME = 40
"""From many addresses: 160 guesses an hour against 12 characters."""
TABLE_MAX = 10_000


class _Count(Struct):
    since_ms: int
    tries: int = 0


class Attempts:
    """One table, `most` tries of each key in a window."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def wait_ms(self, key: str, now_ms: int) -> int:
        """How long this key must wait; 0: not at all."""
        count = self._counts.get(key)
        if count is None or count.tries < self._most:
            return 0
        return max(0, count.since_ms + WINDOW_MS - now_ms)

    def begin(self, key: str, now_ms: int) -> None:
        count = self._counts.setdefault(key, _Count(now_ms))
        # A clock that was set back begins a new window, too.
        if not 0 <= now_ms - count.since_ms < WINDOW_MS:
            count.since_ms, count.tries = now_ms, 0
        count.tries += 1
        self._counts.move_to_end(key)
        if len(self._counts) > TABLE_MAX:
            self._counts.popitem(last=False)

    def succeed(self, key: str) -> None:
        self._counts.pop(key, None)
