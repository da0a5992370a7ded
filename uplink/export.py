"""An export: a period of a site's history in one file that proves itself on any machine. gzip of JSON lines.

    {"pegcount":"export",...}     what it is: format, site, period, the program's version
    {"pegcount":"keys",...}       the platform's keys, where one was introduced by another
    {"pegcount":"epoch",...}      a `Span`; then its events, each the line that the site stored and sent
    {"pegcount":"chain",...}      the chain value there, at least after every MARK_EVERY events
    {"pegcount":"receipt",...}    the platform's, behind the last event that it is for
    {"pegcount":"end",...}        counts and sums
    {"pegcount":"seal",...}       the SHA-256 of the file up to here, as a gzip member of its own

Laws
- The same history makes the same bytes, as long as the platform has the same keys: no time of making, no name of a file is
  in it.
- Each byte counts: the seal is over the file's bytes, and is itself only one sequence of bytes.
- It is read as it comes: memory does not grow with it, and no line is longer than LINE_MAX_BYTES.
"""

import hashlib
import zlib
from collections.abc import Iterator
from struct import pack
from typing import BinaryIO

import msgspec
from msgspec import Struct

from uplink.enrolment import PlatformKey
from uplink.proof import Mismatch, Proof, Proved, Span, Sum
from uplink.receipts import Receipted

FORMAT = 1
MARK_EVERY = 100
"""A chain value costs some 40 bytes; an event about 60. With one for each hundred events, a change is found to the hundred."""
LINE_MAX_BYTES = 1 << 20
"""Sixteen times the largest event that may be sent."""
PIECE_BYTES = 1 << 16
LEVEL = 6


class Title(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="pegcount", tag="export"):
    """`since_ms` and `until_ms` bound when the events were recorded; 0: no bound. `program`: the version that wrote it."""

    site: str
    program: str
    since_ms: int = 0
    until_ms: int = 0
    format: int = FORMAT


class Keys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="pegcount", tag="keys"):
    keys: tuple[PlatformKey, ...]


class Epoch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="pegcount", tag="epoch"):
    span: Span


class Chain(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="pegcount", tag="chain"):
    sequence: int
    chain: bytes


class Receipt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="pegcount", tag="receipt"):
    receipt: Receipted


class End(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="pegcount", tag="end"):
    events: int
    receipts: int
    sums: list[Sum]


_TAG = b'{"pegcount":'
"""How a line begins that is no event: an event begins with its id."""
_json = msgspec.json.Encoder().encode
_Own = Title | Keys | Epoch | Chain | Receipt | End
_decoder: msgspec.json.Decoder[_Own] = msgspec.json.Decoder(_Own)


class Writer:
    """Writes an export to `file`. Give it the parts in their order, then `end`."""

    def __init__(self, file: BinaryIO, title: Title) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._packer = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)
        self._unmarked = 0
        self._line(_json(title))

    def keys(self, keys: tuple[PlatformKey, ...]) -> None:
        if any(each.by for each in keys):
            self._line(_json(Keys(keys=keys)))

    def span(self, span: Span) -> None:
        self._unmarked = 0
        self._line(_json(Epoch(span=span)))

    def event(self, body: bytes, sequence: int, chain: bytes) -> None:
        self._line(body)
        self._unmarked += 1
        if self._unmarked == MARK_EVERY:
            self._unmarked = 0
            self._line(_json(Chain(sequence=sequence, chain=chain)))

    def receipt(self, receipt: Receipted) -> None:
        self._line(_json(Receipt(receipt=receipt)))

    def end(self, proved: Proved) -> None:
        self._line(_json(_end(proved)))
        self._put(self._packer.flush())
        self._file.write(seal(self._sha256.digest()))

    def _line(self, line: bytes) -> None:
        self._put(self._packer.compress(line + b"\n"))

    def _put(self, data: bytes) -> None:
        self._sha256.update(data)
        self._file.write(data)


def seal(digest: bytes) -> bytes:
    """The last member of an export: one stored block (RFC 1951 section 3.2.4), so that there is but one way to write it."""
    line = _TAG + b'"seal","sha256":"' + digest.hex().encode() + b'"}\n'
    block = pack("<BHH", 1, len(line), len(line) ^ 0xFFFF) + line
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + block + pack("<II", zlib.crc32(line), len(line))


_SEAL_BYTES = len(seal(bytes(32)))


class Checked(Struct, frozen=True, kw_only=True):
    """An export that proved itself."""

    title: Title
    proved: Proved


def check(file: BinaryIO, trusted: frozenset[str] = frozenset()) -> Checked:
    """Read an export to its end. `file` can seek; `trusted` as in `Proof`. Raises Mismatch, AnotherFormat and OSError."""
    lines = _lines(file)
    title = _title(next(lines, b""))
    proof = Proof(title.site, trusted)
    ended: End | None = None
    for line in lines:
        if ended:
            raise Mismatch("what follows the end", "nothing", line)
        if not line.startswith(_TAG):
            proof.event(line)
            continue
        match _own(line):
            case Keys(keys=keys):
                proof.keys(keys)
            case Epoch(span=span):
                proof.span(span)
            case Chain(sequence=sequence, chain=chain):
                proof.chain(sequence, chain, "the export")
            case Receipt(receipt=receipt):
                proof.receipt(receipt)
            case End() as ended:
                pass
            case Title():
                raise proof.mismatch("the next line", "an event", "another beginning")
    return Checked(title=title, proved=_counted(proof, ended))


def _counted(proof: Proof, ended: End | None) -> Proved:
    proved = proof.result()
    if ended is None:
        raise proof.mismatch("what follows", "more lines", "the end of the file")
    if ended != _end(proved):
        raise Mismatch("counts and sums at the end", _end(proved), ended)
    return proved


def _end(proved: Proved) -> End:
    return End(events=proved.events, receipts=proved.receipts, sums=proved.sums)


class AnotherFormat(Exception):
    """An export that another version of the program wrote, in a form that this one does not know."""


class _AnyTitle(Struct, frozen=True, tag_field="pegcount", tag="export"):
    """What the titles of all formats have."""

    program: str
    format: int


def _title(line: bytes) -> Title:
    try:
        told = msgspec.json.decode(line, type=_AnyTitle)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        told = None
    if told and told.format != FORMAT:
        raise AnotherFormat(
            f"an export of format {told.format}, written by version {told.program[:64]}; this version reads {FORMAT}"
        )
    title = _own(line) if line.startswith(_TAG) else None
    if not isinstance(title, Title) or title.format != FORMAT:
        raise Mismatch("the first line", f"an export of format {FORMAT}", line)
    return title


def _own(line: bytes) -> _Own:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Mismatch("a line of the export", "one of format 1", error) from None


def _lines(file: BinaryIO) -> Iterator[bytes]:
    rest = b""
    for piece in _inflated(file):
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
        if len(rest) > LINE_MAX_BYTES:
            raise Mismatch("a line", f"at most {LINE_MAX_BYTES} bytes", f"{len(rest)} bytes or more")
    if rest:
        raise Mismatch("the last line", "its end", rest)


def _inflated(file: BinaryIO) -> Iterator[bytes]:
    """What the seal covers, in pieces; the seal is compared at the end."""
    left = file.seek(0, 2) - _SEAL_BYTES
    file.seek(0)
    sha256, unpacker = hashlib.sha256(), zlib.decompressobj(31)
    while left > 0 and (packed := file.read(min(PIECE_BYTES, left))):
        left -= len(packed)
        sha256.update(packed)
        while packed and not unpacker.eof:
            yield _piece(unpacker, packed)
            packed = unpacker.unconsumed_tail
    if not unpacker.eof or unpacker.unused_data:
        raise Mismatch("the file", "one whole gzip member and its seal", "another end")
    if (found := file.read()) != (expected := seal(sha256.digest())):
        raise Mismatch("the seal", expected[15:-9].decode(), found[15:-9].decode("ascii", "replace"))


def _piece(unpacker: "zlib._Decompress", packed: bytes) -> bytes:
    try:
        return unpacker.decompress(packed, LINE_MAX_BYTES)
    except zlib.error as error:
        raise Mismatch("the file", "gzip", error) from None
