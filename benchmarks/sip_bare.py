"""What plain Python can do at most: Call-ID, CSeq and both tags of every message of a capture file, and nothing of it kept.

It knows UDP over IPv4 over Ethernet in a little-endian pcap and headers in their usual spelling, and nothing else: a yardstick
for the collector, which knows the rest too. `python benchmarks/sip_bare.py FILE` prints how many messages told all but, as
requests outside of a dialog do, the tag of To.
"""

import sys
from struct import Struct as Layout

CHUNK_BYTES = 65_536
FRAME_HEAD_BYTES = 16
TO_PAYLOAD_BYTES = FRAME_HEAD_BYTES + 14 + 20 + 8
RECORD = Layout("<IIII")


def read(path: str) -> int:
    messages, rest = 0, b""
    with open(path, "rb", buffering=0) as file:
        file.read(24)
        while chunk := file.read(CHUNK_BYTES):
            rest, found = _chunk(rest + chunk)
            messages += found
    return messages


def _chunk(data: bytes) -> tuple[bytes, int]:
    """What is left of a run of frames, and how many were whole."""
    find, unpack, last = data.find, RECORD.unpack_from, len(data) - FRAME_HEAD_BYTES
    at = messages = 0
    while at <= last:
        end = at + FRAME_HEAD_BYTES + unpack(data, at)[2]
        if end > len(data):
            break
        begin = at + TO_PAYLOAD_BYTES
        head = find(b"\r\n\r\n", begin, end)
        call_id = _value(data, b"\r\nCall-ID: ", begin, head)
        cseq = _value(data, b"\r\nCSeq: ", begin, head)
        from_tag = _value(data, b"\r\nFrom: ", begin, head).partition(b";tag=")[2]
        _ = _value(data, b"\r\nTo: ", begin, head).partition(b";tag=")[2]
        messages += bool(call_id and cseq and from_tag)
        at = end
    return data[at:], messages


def _value(data: bytes, name: bytes, begin: int, end: int) -> bytes:
    at = data.find(name, begin, end)
    if at < 0:
        return b""
    at += len(name)
    return data[at : data.find(b"\r\n", at)]


if __name__ == "__main__":
    print(read(sys.argv[1]))
