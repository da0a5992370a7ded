"""A thin line is not filled: request bodies go out at most so fast, as a token bucket allows.

Laws
- On the average no more than `bytes_s`, and at no time more than BURST_S of it at once.
- A request that is paced is allowed so much longer as its pacing takes.
"""

import asyncio
from collections.abc import AsyncIterator

BURST_S = 0.25
"""What may go out at once: a voice packet behind it waits no longer than this on a line that is as thin as the limit."""
PIECE_BYTES = 1024
"""A body is cut into pieces below one Ethernet frame."""
REQUEST_S = 15.0
"""How long the events of one request should keep a thin line, before compression, so that the platform hears of the backlog,
and a stop or the end of a window is not waited for long."""


class Bucket:
    """Pure: `now_s` is any clock that only goes on."""

    def __init__(self, bytes_s: float) -> None:
        self.bytes_s = bytes_s
        self._free_at_s = float("-inf")

    def take(self, size_bytes: int, now_s: float) -> float:
        """How long to wait before so many bytes may go; they are taken."""
        begin_s = max(self._free_at_s, now_s - BURST_S)
        self._free_at_s = begin_s + size_bytes / self.bytes_s
        return max(0.0, self._free_at_s - now_s)


async def paced(body: bytes, bucket: Bucket) -> AsyncIterator[bytes]:
    """`body` in pieces, each when the bucket has room for it."""
    clock = asyncio.get_running_loop().time
    for start in range(0, len(body), PIECE_BYTES):
        piece = body[start : start + PIECE_BYTES]
        if wait_s := bucket.take(len(piece), clock()):
            await asyncio.sleep(wait_s)
        yield piece


def bytes_s(kbit_s: int) -> float:
    return kbit_s * 1000 / 8


def bounded(max_bytes: int, kbit_s: int) -> int:
    """Bytes of one request's events: at most `max_bytes`, and no more than a line of `kbit_s` (0: any) carries in REQUEST_S."""
    return min(max_bytes, int(bytes_s(kbit_s) * REQUEST_S)) if kbit_s else max_bytes
