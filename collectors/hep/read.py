"""HEP out of a file: raw HEP3 packets one after the other, or a capture that carries HEP over UDP.

A file has an end, and calls that are open there are handed in as such. Nothing is stored.
"""

import mmap
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from collectors.contract import Batch, SourceUnavailable
from collectors.hep.decode import MAGIC, packet_length
from collectors.hep.stream import HepStream
from collectors.io.segment import DATAGRAM_MAX_BYTES
from collectors.net.bounds import Bounds
from collectors.net.frames import GZIP_MAGIC, MAGIC_BYTES, PCAP_MAGIC, PCAPNG_MAGIC, CaptureError, frames, unzipped_head
from collectors.net.ip import UDP
from collectors.net.layers import Layers
from collectors.records import Reject

BATCH_PACKETS = 5_000
CAPTURE_MAGICS = (*PCAP_MAGIC, PCAPNG_MAGIC, GZIP_MAGIC)
UDP_HEADER_BYTES = 8
SNIFF_HEP_WITHIN_BYTES = 512
"""A capture's own heads and those of Ethernet, VLAN, IP and UDP come to under 300 bytes before the first payload."""

RAW_SURE, CAPTURE_SURE = 100, 95
"""A capture whose first packet is HEP is surer than any capture is of being plain SIP."""


def sniff(name: str, head: bytes) -> int:
    head = unzipped_head(head)
    if head.startswith(MAGIC):
        return RAW_SURE
    if head.startswith(CAPTURE_MAGICS) and MAGIC in head[:SNIFF_HEP_WITHIN_BYTES]:
        return CAPTURE_SURE
    return 0


class Piece(Struct, frozen=True):
    """What may be a HEP packet, where it stands, and when it was received."""

    position: str
    received_us: int
    data: bytes


def read(path: Path, stream: HepStream) -> Iterator[Batch]:
    """All batches of the file. Raises SourceUnavailable where it cannot be read; a capture that breaks off gives what
    stands before, and a reject."""
    damage: list[Reject] = []
    try:
        for count, piece in enumerate(_pieces(path), 1):
            stream.packet(piece.data, piece.received_us, piece.position)
            if count % BATCH_PACKETS == 0:
                yield _batch(stream)
    except CaptureError as error:
        damage.append(_damaged(path, error))
    except OSError as error:
        raise SourceUnavailable(f"{path} cannot be read: {error.strerror}") from error
    stream.finish()
    yield _batch(stream, damage)


def _batch(stream: HepStream, more: Sequence[Reject] = ()) -> Batch:
    records, rejects = stream.drain()
    return Batch(records=records, rejects=[*rejects, *more], source_time_ms=stream.newest_us // 1000)


def _damaged(path: Path, error: CaptureError) -> Reject:
    key = sha256(f"{path.name} {error}".encode()).hexdigest()[:32]
    return Reject(key=key, reason="capture_damaged", message=str(error), excerpt=b"", position=path.name)


def _pieces(path: Path) -> Iterator[Piece]:
    with path.open("rb") as file:
        if file.read(MAGIC_BYTES).startswith(CAPTURE_MAGICS):
            file.seek(0)
            yield from _captured(file)
        elif path.stat().st_size:
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
                yield from _raw(data, time.time_ns() // 1000)


def _captured(file: BinaryIO) -> Iterator[Piece]:
    """The UDP datagrams of a capture that begin as HEP3 does, on whatever port."""
    layers = Layers(Bounds(), Counter())
    for number, (at_us, link_type, frame) in enumerate(frames(file), 1):
        found = layers.find(at_us, link_type, frame)
        if found is None:
            continue
        protocol, _, _, buffer, at, end = found
        payload = at + UDP_HEADER_BYTES
        if protocol == UDP and buffer.startswith(MAGIC, payload):
            yield Piece(f"packet {number}", at_us, buffer[payload:end])


def _raw(data: mmap.mmap, received_us: int) -> Iterator[Piece]:
    """HEP3 tells its own length; what stands between two packets comes as one piece, and will be a reject."""
    at, size = 0, len(data)
    while at < size:
        length = packet_length(data[at : at + 6])
        if not length:
            found = data.find(MAGIC, at + 1)
            length = min((found if found > 0 else size) - at, DATAGRAM_MAX_BYTES)
        yield Piece(f"byte {at}", received_us, data[at : at + length])
        at += length
