"""Frames out of a capture file: pcap and pcapng, as a stream of bytes.

Laws
- Bounded memory: one chunk of CHUNK_BYTES and the frame that lies across its end.
- A file that is no capture at all raises `NotACapture`. One that breaks off or goes wrong in its midst gives all frames
  before, then raises `Damaged`, which says where.
- A file compressed by gzip is read as what is in it; `Damaged` tells the octet of what was compressed.
- Times are whole microseconds since the epoch, whatever the file's resolution.

Formats: https://www.tcpdump.org/manpages/pcap-savefile.5.html and draft-ietf-opsawg-pcapng.
"""

import zlib
from collections.abc import Iterator
from struct import Struct as Layout
from typing import BinaryIO, Protocol

from msgspec import Struct

CHUNK_BYTES = 65_536
"""Larger reads are slower: what is read stays in the processor's cache until its packets are done with."""

FRAME_MAX_BYTES = 16_777_216
"""Wireshark's own limit for a packet block; a larger length is a broken file."""

Frame = tuple[int, int, bytes]
"""at_us, link type, octets"""


class CaptureError(Exception):
    pass


class NotACapture(CaptureError):
    """The first octets are neither those of pcap nor of pcapng."""


class Damaged(CaptureError):
    """The file goes wrong at octet `offset`."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"{message} at octet {offset}")
        self.offset = offset


PCAP_MAGIC = {  # magic number: byte order, nanoseconds
    b"\xd4\xc3\xb2\xa1": ("<", False),
    b"\xa1\xb2\xc3\xd4": (">", False),
    b"\x4d\x3c\xb2\xa1": ("<", True),
    b"\xa1\xb2\x3c\x4d": (">", True),
}
PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"
GZIP_MAGIC = b"\x1f\x8b\x08"
GZIP_WINDOW = 31
"""zlib's word for a gzip head and trailer, whose checksum it checks."""
MAGIC_BYTES = 4


Span = tuple[int, int, bytes, int, int]
"""at_us, link type, and where a frame lies: a buffer, its begin and its end therein"""


def frames(file: BinaryIO) -> Iterator[Frame]:
    """The frames of a capture, one by one. Raises CaptureError."""
    for at_us, link_type, buffer, begin, end in spans(file):
        yield at_us, link_type, buffer[begin:end]


def unzipped_head(head: bytes) -> bytes:
    """The first octets of a file, as they stand in it where it is compressed."""
    if not head.startswith(GZIP_MAGIC):
        return head
    try:
        return zlib.decompressobj(wbits=GZIP_WINDOW).decompress(head, CHUNK_BYTES)
    except zlib.error:
        return b""


def spans(file: BinaryIO) -> Iterator[Span]:
    """The same without a copy of each. Raises CaptureError."""
    source: Readable = file
    magic = source.read(MAGIC_BYTES)
    if magic.startswith(GZIP_MAGIC):
        source = _Unzipped(magic, file)
        magic = source.read(MAGIC_BYTES)
    if magic in PCAP_MAGIC:
        return _pcap(source, *PCAP_MAGIC[magic])
    if magic == PCAPNG_MAGIC:
        return _pcapng(source)
    raise NotACapture("this is neither a pcap nor a pcapng file")


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Unzipped:
    """What is in a gzip file, which may have several members (RFC 1952 section 2.2); `head` is what was read of it already."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._file = file
        self._raw = head
        self._engine = zlib.decompressobj(wbits=GZIP_WINDOW)
        self._offset = 0

    def read(self, size: int, /) -> bytes:
        """Empty at the end. Raises Damaged."""
        data = b""
        while not data and self._goes_on():
            try:
                data = self._engine.decompress(self._raw, size)
            except zlib.error as fault:
                raise Damaged(f"the compressed file is broken ({fault})", self._offset) from fault
            if not (data or self._raw or self._engine.eof):
                raise Damaged("the compressed file breaks off", self._offset)
            self._raw = self._engine.unused_data or self._engine.unconsumed_tail
        return data

    def _goes_on(self) -> bool:
        """Whether there is more to decompress; afterwards `_raw` is what comes next, or empty where the file has no more."""
        if not self._raw:
            self._raw = self._file.read(CHUNK_BYTES)
            self._offset += len(self._raw)
        if self._engine.eof:
            if not self._raw.strip(b"\0"):  # tape blocks are padded
                return False
            self._engine = zlib.decompressobj(wbits=GZIP_WINDOW)
        return True


class _Window(Struct):
    """A run of the file in memory: `need` makes sure that so many octets lie from `at` on."""

    file: Readable
    offset: int
    """of data[0] in the file"""
    data: bytes = b""
    at: int = 0

    def need(self, size: int) -> bool:
        if len(self.data) - self.at >= size:
            return True
        self.offset += self.at
        self.data = self.data[self.at :]
        self.at = 0
        while len(self.data) < size:
            more = self.file.read(max(CHUNK_BYTES, size - len(self.data)))
            if not more:
                return False
            self.data = self.data + more if self.data else more
        return True

    def damaged(self, message: str) -> Damaged:
        return Damaged(message, self.offset + self.at)

    def rest(self) -> int:
        return len(self.data) - self.at


def _pcap(file: Readable, order: str, nanoseconds: bool) -> Iterator[Span]:
    window = _Window(file, MAGIC_BYTES)
    if not window.need(20):
        raise window.damaged("the file header breaks off")
    link_type = Layout(order + "I").unpack_from(window.data, 16)[0] & 0x0FFFFFFF
    window.at = 20
    head = Layout(order + "IIII")
    unpack, divisor = head.unpack_from, 1000 if nanoseconds else 1
    while window.need(16):
        data, at, last = window.data, window.at, len(window.data) - 16
        while at <= last:
            seconds, fraction, size, _ = unpack(data, at)
            end = at + 16 + size
            if end > len(data):
                break
            yield seconds * 1_000_000 + fraction // divisor, link_type, data, at + 16, end
            at = end
        window.at = at
        if at <= last:
            if size > FRAME_MAX_BYTES:
                raise window.damaged(f"a frame of {size} octets")
            if not window.need(16 + size):
                raise window.damaged("the capture breaks off within a frame")
    if window.rest():
        raise window.damaged("the capture breaks off within a frame's header")


# --- pcapng

SECTION, INTERFACE, SIMPLE, ENHANCED, PACKET = 0x0A0D0D0A, 1, 3, 6, 2
BYTE_ORDERS = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}
OPTION_TSRESOL, OPTION_TSOFFSET = 9, 14
INTERFACES_MAX = 65_536


class _Interface(Struct):
    link_type: int
    snap_bytes: int
    units: int = 1_000_000
    """clock units in a second"""
    offset_s: int = 0


class _Section(Struct):
    order: str
    interfaces: list[_Interface] = []


def _pcapng(file: Readable) -> Iterator[Span]:
    window = _Window(file, 0, PCAPNG_MAGIC)
    section = _Section("<")
    last_us = 0
    while window.need(12):
        kind, body = _block(window, section)
        if kind == INTERFACE:
            if len(body) < 8 or len(section.interfaces) >= INTERFACES_MAX:
                raise window.damaged("an interface block that cannot be")
            section.interfaces.append(_interface(body, section.order))
        elif kind in (ENHANCED, PACKET, SIMPLE):
            frame = _packet(kind, body, section, last_us)
            if frame is None:
                raise window.damaged("a packet block that cannot be")
            last_us, link_type, octets = frame
            yield last_us, link_type, octets, 0, len(octets)
    if window.rest():
        raise window.damaged("the capture breaks off within a block's header")


def _block(window: _Window, section: _Section) -> tuple[int, bytes]:
    """The next block; a section header sets the byte order anew."""
    if window.data[window.at : window.at + 4] == PCAPNG_MAGIC:
        order = BYTE_ORDERS.get(window.data[window.at + 8 : window.at + 12])
        if order is None:
            raise window.damaged("a section header without byte order")
        section.order = order
        section.interfaces = []
    kind, size = Layout(section.order + "II").unpack_from(window.data, window.at)
    if size < 12 or size % 4 or size > FRAME_MAX_BYTES:
        raise window.damaged(f"a block of {size} octets")
    if not window.need(size):
        raise window.damaged("the capture breaks off within a block")
    body = window.data[window.at + 8 : window.at + size - 4]
    window.at += size
    return kind, body


def _interface(body: bytes, order: str) -> _Interface:
    link_type, _, snap = Layout(order + "HHI").unpack_from(body, 0)
    interface = _Interface(link_type, snap)
    at, option = 8, Layout(order + "HH")
    while at + 4 <= len(body):
        code, size = option.unpack_from(body, at)
        value = body[at + 4 : at + 4 + size]
        if code == OPTION_TSRESOL and len(value) == 1:
            interface.units = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** min(value[0], 20)
        elif code == OPTION_TSOFFSET and len(value) == 8:
            interface.offset_s = Layout(order + "q").unpack(value)[0]
        at += 4 + (size + 3) // 4 * 4
    return interface


def _packet(kind: int, body: bytes, section: _Section, last_us: int) -> Frame | None:
    """An enhanced, simple or (obsolete) packet block; a simple one has no time: it takes that of the one before."""
    if kind == SIMPLE:
        if len(body) < 4 or not section.interfaces:
            return None
        interface = section.interfaces[0]
        size = min(Layout(section.order + "I").unpack_from(body, 0)[0], interface.snap_bytes or FRAME_MAX_BYTES)
        return last_us, interface.link_type, body[4 : 4 + size]
    if len(body) < 20:
        return None
    layout = "IIIII" if kind == ENHANCED else "HHIIII"
    fields = Layout(section.order + layout).unpack_from(body, 0)
    number, high, low, size = fields[0], *fields[-4:-1]
    if number >= len(section.interfaces) or 20 + size > len(body):
        return None
    interface = section.interfaces[number]
    at_us = ((high << 32) | low) * 1_000_000 // interface.units + interface.offset_s * 1_000_000
    return at_us, interface.link_type, body[20 : 20 + size]
