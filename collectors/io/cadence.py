"""When a collector that reads again from its last snapshot makes a new one.

Between two snapshots a batch repeats the last checkpoint: what is read again from there has the same keys. A snapshot costs
with the calls in progress, reading again with the octets since.
"""

import time

SNAPSHOT_S = 30.0
SNAPSHOT_BYTES = 8 * 1024 * 1024
"""How much is read again after a restart at most: 12,000 messages, well under a second of work."""


class Cadence:
    def __init__(self) -> None:
        self._last_at = time.monotonic()

    def due(self, read_bytes: int) -> bool:
        """Whether it is time, given how many octets were read since the last snapshot; where it is, the next is counted
        from here."""
        due = bool(read_bytes) and (read_bytes >= SNAPSHOT_BYTES or time.monotonic() - self._last_at >= SNAPSHOT_S)
        if due:
            self._last_at = time.monotonic()
        return due
