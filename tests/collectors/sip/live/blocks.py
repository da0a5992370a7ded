"""Blocks of a TPACKET_V3 ring, written out as the kernel writes them."""

import struct
from collections.abc import Sequence

HEAD_BYTES, FRAME_AT = 48, 48 + 20
LINK_BYTES = 14


def block(frames: Sequence[tuple[int, bytes]]) -> bytes:
    """`frames`: time in microseconds, and the frame from its Ethernet header on."""
    parts = []
    for place, (at_us, frame) in enumerate(frames):
        begin = 82  # TPACKET_ALIGN(48 + 20) + 16 - 14
        size = (begin + len(frame) + 15) // 16 * 16
        following = size if place + 1 < len(frames) else 0
        seconds, micro = divmod(at_us, 1_000_000)
        head = struct.pack(
            "=6I2H", following, seconds, micro * 1000, len(frame), len(frame), 1, begin, begin + LINK_BYTES
        )
        address = struct.pack("=H2siHBB8s", 17, frame[12:14], 1, 1, 0, 6, b"")
        parts.append((head + bytes(20) + address).ljust(begin, b"\0") + frame.ljust(size - begin, b"\0"))
    body = b"".join(parts)
    return struct.pack("=6IQ4I", 1, 48, 1, len(frames), HEAD_BYTES, HEAD_BYTES + len(body), 1, 0, 0, 0, 0) + body
