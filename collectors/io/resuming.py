"""How a collector that followed something resumes: by a snapshot of what it knew, made now and then, and the place from which
it reads again.

Between two snapshots a batch repeats the last checkpoint: what is read again from there has the same keys. A snapshot costs
with the calls in progress, reading again with the octets since.
"""

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

SNAPSHOT_S = 30.0
SNAPSHOT_BYTES = 8 * 1024 * 1024
"""How much is read again after a restart at most: 12,000 messages, well under a second of work."""

VERSION = 1
"""Of a checkpoint's form."""

Position = TypeVar("Position")


class Checkpoints(Generic[Position]):
    """A checkpoint is an array of the version, the place of type `position`, and the state."""

    def __init__(self, position: Any) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(tuple[int, position, bytes]).decode

    def write(self, position: Position, state: bytes) -> bytes:
        return self._encode((VERSION, position, state))

    def restored(self, checkpoint: bytes, restore: Callable[[bytes], None]) -> Position | None:
        """Give the state to `restore`, and return the place; None where these bytes are of another version, or `restore` (by
        a ValueError) says that the state is: then what can still be read is read again without it. What stood in the
        state is calls in progress, and what has been handed in keeps its key."""
        try:
            version, position, state = self._decode(checkpoint)
            if version != VERSION:
                return None
            restore(state)
        except (msgspec.DecodeError, ValueError):
            return None
        return position  # type: ignore[no-any-return]


class Cadence:
    """When a new snapshot is due."""

    def __init__(self) -> None:
        self._last_at = time.monotonic()

    def due(self, read_bytes: int) -> bool:
        """Whether it is time, given how many octets were read since the last snapshot; where it is, the next is counted
        from here."""
        due = bool(read_bytes) and (read_bytes >= SNAPSHOT_BYTES or time.monotonic() - self._last_at >= SNAPSHOT_S)
        if due:
            self._last_at = time.monotonic()
        return due
