"""Frames out of a pcap that is still being written: a pipe, or a file that grows.

Laws
- Sans-I/O: octets in, whole frames out; what is not whole yet waits for the rest, at most a frame.
- `offset` is where the next frame begins: whoever feeds the octets from there on, after the file's head, goes on without a gap.

Format: https://www.tcpdump.org/manpages/pcap-savefile.5.html.
"""

from struct import Struct as Layout

from collectors.net.frames import FRAME_MAX_BYTES, PCAP_MAGIC, Damaged, Frame

HEAD_BYTES = 24
RECORD_BYTES = 16


class PcapStream:
    def __init__(self) -> None:
        self.offset = 0
        self._rest = b""
        self._record = Layout("<IIII")
        self._divisor = 1
        self._link_type = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Raises Damaged."""
        data = self._rest + data
        at = 0 if self.offset else self._head(data)
        frames = []
        while at + RECORD_BYTES <= len(data) and (self.offset or at):
            seconds, fraction, size, _ = self._record.unpack_from(data, at)
            if size > FRAME_MAX_BYTES:
                raise Damaged(f"a frame of {size} octets", self.offset + at)
            end = at + RECORD_BYTES + size
            if end > len(data):
                break
            at_us = seconds * 1_000_000 + fraction // self._divisor
            frames.append((at_us, self._link_type, data[at + RECORD_BYTES : end]))
            at = end
        self._rest = data[at:]
        self.offset += at
        return frames

    @property
    def read_to(self) -> int:
        """How far octets were fed."""
        return self.offset + len(self._rest)

    def skip_to(self, offset: int) -> None:
        """After the head was fed: what comes next begins at `offset`."""
        self.offset, self._rest = max(offset, HEAD_BYTES), b""

    def _head(self, data: bytes) -> int:
        if len(data) < HEAD_BYTES:
            return 0
        if data[:4] not in PCAP_MAGIC:
            raise Damaged("this is no pcap", 0)
        order, nanoseconds = PCAP_MAGIC[data[:4]]
        self._record = Layout(order + "IIII")
        self._divisor = 1000 if nanoseconds else 1
        self._link_type = Layout(order + "I").unpack_from(data, 20)[0] & 0x0FFFFFFF
        return HEAD_BYTES
