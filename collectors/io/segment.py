"""One file of a journal: a fixed number of bytes, reserved on the disk, zero-filled and mapped into memory.

Laws
- A slot is a header of HEADER_BYTES, the bytes of one datagram, and zeros up to a multiple of ALIGN_BYTES.
- The bytes stand in the mapping before their header does. The mapping is shared: what stands in it is the kernel's and
  outlives the process, however that ends.
- A header that is whole says so (`check`). Where it is not, the bytes behind it were received by a process that was
  killed before it could say so: they are recovered, by the datagram's own length or up to the last byte that is not
  zero.
"""

import mmap
import os
from collections.abc import Callable
from pathlib import Path
from struct import Struct as Layout
from typing import Protocol

from msgspec import Struct

HEADER = Layout("<QII")
HEADER_BYTES = HEADER.size
ALIGN_BYTES = 8
DATAGRAM_MAX_BYTES = 65_535
"""The length field of UDP (RFC 768) allows no more."""
DATA_MAX_BYTES = 64 + DATAGRAM_MAX_BYTES
"""With a source's own note of where a datagram came from (`collectors.io.origin`)."""
SLOT_MAX_BYTES = HEADER_BYTES + DATA_MAX_BYTES + ALIGN_BYTES
CHECK = 0x48455021
"""Combined with the length, so that neither a row of zeros nor a header half written passes for a header."""
TOUCH_BYTES = 256 * 1024
"""How far ahead pages are made writable. A page that is missing when the kernel copies a datagram into it must be
fetched in the middle of `recv`, the only place where a kill could take the datagram with it."""
PAGE_BYTES = mmap.PAGESIZE

OwnLength = Callable[[memoryview], int]
"""The length that a datagram at the start of these bytes claims for itself; 0 where it does not say."""


class Source(Protocol):
    """What a datagram is taken from: a socket that does not block, or what stands before one."""

    def recv_into(self, buffer: memoryview, /) -> int:
        """The length of what was written into `buffer`. Raises BlockingIOError where nothing waits; then, as after any other
        error, `buffer` holds what it held before."""


class Datagram(Struct, frozen=True, gc=False):
    """One datagram as it was received. `segment` and `offset`: where it stands; `received_us`: microseconds since the
    epoch."""

    segment: int
    offset: int
    received_us: int
    data: bytes


def next_slot(offset: int, length: int) -> int:
    return (offset + HEADER_BYTES + length + ALIGN_BYTES - 1) & -ALIGN_BYTES


class Segment:
    """An open segment. `end`: where the next slot will be written; 0 in a file that was there before, until `recover`
    has found its end."""

    def __init__(self, path: Path, number: int, size_bytes: int) -> None:
        """Opens or makes the file. Raises OSError where the disk has no room for all of it."""
        self.path = path
        self.number = number
        self.size_bytes = size_bytes
        self.end = 0
        self._touched = 0
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Reserved, not sparse: a page that finds no block on a full disk ends the process with SIGBUS.
            os.posix_fallocate(descriptor, 0, size_bytes)
            self._map = mmap.mmap(descriptor, size_bytes, mmap.MAP_SHARED)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._view = memoryview(self._map)

    def close(self) -> None:
        self._view.release()
        self._map.close()
        os.close(self._descriptor)

    def duplicate_descriptor(self) -> int:
        """A file descriptor of the caller's own, to flush the segment from another thread while this one goes on."""
        return os.dup(self._descriptor)

    def has_room(self) -> bool:
        return self.end + SLOT_MAX_BYTES <= self.size_bytes

    def receive(self, source: Source, received_us: int) -> int:
        """Receive one datagram into the next slot: its length. Raises BlockingIOError where none is waiting. An empty
        datagram takes no slot. The caller has seen to it that there is room."""
        start = self.end + HEADER_BYTES
        if start + SLOT_MAX_BYTES > self._touched:
            self._touch(start)
        length = source.recv_into(self._view[start : start + DATA_MAX_BYTES])
        if length:
            self._seal(self.end, received_us, length)
            self.end = next_slot(self.end, length)
        return length

    def read(self, offset: int) -> Datagram | None:
        """The datagram in the slot at `offset`, or None where none has been written yet."""
        if offset + HEADER_BYTES > self.size_bytes:
            return None
        received_us, check, length = HEADER.unpack_from(self._map, offset)
        if not length or check != length ^ CHECK:
            return None
        start = offset + HEADER_BYTES
        return Datagram(self.number, offset, received_us, self._map[start : start + length])

    def recover(self, own_length: OwnLength, received_us: int) -> int:
        """Find the end of a segment that another process wrote, and seal the slots that it could not: one after a kill;
        after a power cut, which may lose any page, as many as there are holes. Returns how many. Afterwards every byte
        that is not zero stands in a slot."""
        data_end = self._data_end()
        offset = sealed = 0
        while offset + HEADER_BYTES < data_end:
            length = self._sealed_length(offset)
            if not length:
                length = self._unsealed_length(offset, data_end, own_length)
                self._seal(offset, received_us, length)
                sealed += 1
            offset = next_slot(offset, length)
        self.end = offset
        return sealed

    def _sealed_length(self, offset: int) -> int:
        _, check, length = HEADER.unpack_from(self._map, offset)
        fits = offset + HEADER_BYTES + length <= self.size_bytes
        return int(length) if fits and length <= DATA_MAX_BYTES and check == length ^ CHECK else 0

    def _unsealed_length(self, offset: int, data_end: int, own_length: OwnLength) -> int:
        start = offset + HEADER_BYTES
        claimed = own_length(self._view[start : start + DATA_MAX_BYTES])
        behind = next_slot(offset, claimed)
        if claimed and start + claimed <= self.size_bytes and (behind >= data_end or self._sealed_length(behind)):
            return claimed
        found = range(offset + 2 * ALIGN_BYTES + HEADER_BYTES, data_end - HEADER_BYTES, ALIGN_BYTES)
        until = next((at for at in found if self._sealed_length(at)), data_end)
        return min(until - start, DATA_MAX_BYTES & -ALIGN_BYTES)

    def _data_end(self) -> int:
        """The offset behind the last byte that is not zero."""
        return len(self._map[:].rstrip(b"\0"))

    def _seal(self, offset: int, received_us: int, length: int) -> None:
        HEADER.pack_into(self._map, offset, received_us, length ^ CHECK, length)

    def _touch(self, start: int) -> None:
        """Make the pages ahead writable. Only pages behind `start` are written, and they hold zeros."""
        until = min(start + SLOT_MAX_BYTES + TOUCH_BYTES, self.size_bytes)
        first = max(self._touched, (start + PAGE_BYTES) & -PAGE_BYTES)
        for page in range(first, until, PAGE_BYTES):
            self._map[page] = 0
        self._touched = until if until < self.size_bytes else self.size_bytes + SLOT_MAX_BYTES
