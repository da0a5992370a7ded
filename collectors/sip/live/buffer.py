"""What the capture service keeps for the agent: blocks of frames, numbered, until they are released. Pure.

Laws
- Bounded: beyond `limit_bytes` the oldest blocks go, though nobody has released them; the gap in the numbers tells the agent.
- A block is kept whole as the message that carries it, so that sending costs nothing more.
"""

from collections import deque

from msgspec import Struct

from collectors.sip.live.wire import BLOCK, message


class Kept(Struct, frozen=True, gc=False):
    """Frames `first` to `end` - 1."""

    first: int
    end: int
    message: bytes


class Buffer:
    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._unsent: deque[Kept] = deque()
        self._sent: deque[Kept] = deque()
        self.held_bytes = 0
        self.end = 0
        """The number of the next frame."""

    @property
    def first(self) -> int:
        """The oldest frame that is still here; the next one where there is none."""
        for part in (self._sent, self._unsent):
            if part:
                return part[0].first
        return self.end

    def add(self, count: int, block: bytes) -> None:
        kept = Kept(self.end, self.end + count, message(BLOCK, self.end, block))
        self.end = kept.end
        self._unsent.append(kept)
        self.held_bytes += len(kept.message)
        while self.held_bytes > self._limit_bytes and (self._sent or len(self._unsent) > 1):
            self._drop(self._sent or self._unsent)

    def _drop(self, part: deque[Kept]) -> None:
        self.held_bytes -= len(part.popleft().message)

    def release(self, number: int) -> None:
        """All frames before `number` are durable: blocks that hold no other go."""
        while self._sent and self._sent[0].end <= number:
            self._drop(self._sent)

    def begin(self, number: int) -> None:
        """Send again from the block that holds frame `number` on."""
        self._unsent.extendleft(reversed(self._sent))
        self._sent.clear()
        while self._unsent and self._unsent[0].end <= number:
            self._sent.append(self._unsent.popleft())

    def next(self) -> bytes:
        """The message to send next; empty where there is none."""
        if not self._unsent:
            return b""
        kept = self._unsent.popleft()
        self._sent.append(kept)
        return kept.message
