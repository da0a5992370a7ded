"""A journal of datagrams, and of what streams bring: what the kernel gave us once and nobody will send again.

Constraints
- HEP over UDP has no acknowledgement and no replay. Between `recv` and a durable record lies a call's whole length, in
  which the process may be killed at any instant.
- The disk may be full, and the ledger may be slow for a long time.

Invariants
- A datagram is received straight into a shared mapping of a file: once `recv` has returned it survives the process. Its
  header is written next; where the process dies between the two, `Segment.recover` finds it by its own bytes. Not found
  again is only what holds nothing but zeros.
- Datagrams are read in the order in which they were received, each with the time of its receipt, so that reading again
  gives the same.
- A segment is deleted only when a durable checkpoint lies behind it (`release`). Files come to `limit_bytes` at most: at
  the limit, or on a full disk, `receive` takes nothing more off the socket (`full`), and what the kernel then drops is
  counted by the kernel.

A power cut is another matter than a kill: it may take what was received since the last `flush`, and no more.
"""

import os
from bisect import bisect_right
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct

from collectors.io.segment import Datagram, OwnLength, Segment, Source, next_slot

SEGMENT_BYTES = 4 * 1024 * 1024
"""Some 6,000 SIP messages. Reserving one takes a millisecond, and the room lost at its end (64 KiB) is under 2 %."""
LIMIT_BYTES = 256 * 1024 * 1024
"""Half an hour of 200 messages a second, more than a site of 1,000 phones sends, while the ledger takes nothing."""
SUFFIX = ".journal"


class Position(Struct, frozen=True, order=True, array_like=True):
    """A place between two datagrams."""

    segment: int = 0
    offset: int = 0


def _no_length(_: memoryview) -> int:
    return 0


class Journal:
    """The journal in `folder`, read on from `start` (None: from its beginning). For one thread of one process; only what
    `flush` returns is for another thread. `position` is the place of the next datagram to be read; `missing` says that
    `start` was no longer there, `recovered` how many datagrams had been received but not yet sealed."""

    def __init__(
        self,
        folder: Path,
        start: Position | None = None,
        *,
        now_us: int,
        own_length: OwnLength = _no_length,
        segment_bytes: int = SEGMENT_BYTES,
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        """`own_length`: how to tell the length of a datagram that was received but not sealed; such a datagram counts as
        received at `now_us`. Raises OSError where the folder cannot be used."""
        self.full = False
        self.recovered = 0
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._limit_bytes = limit_bytes
        self._open: dict[int, Segment] = {}
        self._unflushed: list[int] = []
        self.position = Position()
        folder.mkdir(parents=True, exist_ok=True)
        self._numbers = sorted(int(path.stem) for path in folder.glob(f"*{SUFFIX}") if path.stem.isdecimal())
        self._begin(start, self._recover(own_length, now_us))

    def _begin(self, start: Position | None, end: Position | None) -> None:
        """Find the place to read on from, and see to it that there is a segment to write to."""
        first = Position(self._numbers[0]) if self._numbers else None
        self.missing = False
        if first is None or end is None:
            self._roll(start.segment + (start.offset > 0) if start else 0)
            self.position = Position(self._numbers[0])
        elif start is None or start < first:
            self.missing = start is not None
            self.position = first
        elif start > end:
            self.missing = True
            self._roll(start.segment + 1)
            self.position = Position(start.segment + 1)
        else:
            self.position = start

    def _recover(self, own_length: OwnLength, now_us: int) -> Position | None:
        """Find the end of each segment; the end of the last one is the end of the journal."""
        for number in self._numbers:
            self.recovered += self._segment(number).recover(own_length, now_us)
            self._close_except(number)
        return Position(number, self._segment(number).end) if self._numbers else None

    @property
    def backlog_bytes(self) -> int:
        """What has been received and not yet been read, as it lies in the files."""
        writing = self._writing
        return max(0, self._bytes_between(self.position, Position(writing.number, writing.end)))

    @property
    def size_bytes(self) -> int:
        return len(self._numbers) * self._segment_bytes

    def bytes_since(self, position: Position) -> int:
        """What has been read since `position`."""
        return self._bytes_between(position, self.position)

    def receive(self, source: Source, count: int, received_us: int) -> int:
        """Take up to `count` waiting datagrams off `source`; how many there were. Fewer than `count`: none is left, or the
        journal is `full`."""
        writing = self._writing
        try:
            for taken in range(count):
                if not writing.has_room():
                    if not self._make_room():
                        return taken
                    writing = self._writing
                writing.receive(source, received_us)
        except BlockingIOError:
            return taken
        return count

    def has_room(self) -> bool:
        """Whether the next datagram finds room; a segment is begun where it needs one."""
        return self._writing.has_room() or self._make_room()

    def append(self, data: bytes, received_us: int) -> bool:
        """Note something of our own between the datagrams; False where the journal is `full`."""
        return self.receive(_Given(data), 1, received_us) == 1

    def read(self, count: int) -> list[Datagram]:
        """The next datagrams, up to `count`; `position` moves behind them."""
        datagrams: list[Datagram] = []
        number, offset = self.position.segment, self.position.offset
        segment = self._segment(number)
        while len(datagrams) < count:
            datagram = segment.read(offset)
            if datagram:
                datagrams.append(datagram)
                offset = next_slot(offset, len(datagram.data))
            elif number == self._writing.number:
                break
            else:
                number, offset = self._numbers[bisect_right(self._numbers, number)], 0
                segment = self._segment(number)
        self.position = Position(number, offset)
        self._close_except(number, self._writing.number)
        return datagrams

    def release(self, position: Position) -> None:
        """Everything before `position` is durable elsewhere: delete the segments that hold nothing else."""
        keep = min(position.segment, self.position.segment, self._writing.number)
        for number in [number for number in self._numbers if number < keep]:
            self._path(number).unlink(missing_ok=True)
            self._numbers.remove(number)

    def flush(self) -> Callable[[], None]:
        """What must be called, in any thread, to make all that has been received up to now proof against a power cut."""
        descriptors = [*self._unflushed, self._writing.duplicate_descriptor()]
        self._unflushed = []
        return lambda: _sync(descriptors)

    def close(self) -> None:
        self._close_except()
        for descriptor in self._unflushed:
            os.close(descriptor)

    @property
    def _writing(self) -> Segment:
        return self._segment(self._numbers[-1])

    def _make_room(self) -> bool:
        """Begin the next segment, where the limit and the disk allow it."""
        self.full = self.size_bytes + self._segment_bytes > self._limit_bytes
        if not self.full:
            try:
                self._roll(self._numbers[-1] + 1)
            except OSError:
                self._path(self._numbers[-1] + 1).unlink(missing_ok=True)
                self.full = True
        return not self.full

    def _roll(self, number: int) -> None:
        if self._numbers:
            self._unflushed.append(self._writing.duplicate_descriptor())
        self._open[number] = Segment(self._path(number), number, self._segment_bytes)
        self._numbers.append(number)
        self._unflushed.append(os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC))
        self._close_except(number, self.position.segment)

    def _segment(self, number: int) -> Segment:
        segment = self._open.get(number)
        if segment is None:
            path = self._path(number)
            segment = Segment(path, number, max(self._segment_bytes, path.stat().st_size))
            self._open[number] = segment
        return segment

    def _close_except(self, *numbers: int) -> None:
        for number in [number for number in self._open if number not in numbers]:
            self._open.pop(number).close()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}{SUFFIX}"

    def _bytes_between(self, first: Position, last: Position) -> int:
        return (last.segment - first.segment) * self._segment_bytes + last.offset - first.offset


class _Given:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def recv_into(self, buffer: memoryview, /) -> int:
        buffer[: len(self._data)] = self._data
        return len(self._data)


def _sync(descriptors: list[int]) -> None:
    """Where one cannot be synced the others are closed all the same."""
    with ExitStack() as stack:
        for descriptor in descriptors:
            stack.callback(os.close, descriptor)
        for descriptor in descriptors:
            os.fsync(descriptor)
