"""A block of the kernel's TPACKET_V3 ring: frames one after the other, each with its own head. Pure.

Layouts: struct tpacket_block_desc, struct tpacket3_hdr and struct sockaddr_ll of linux/if_packet.h.

Laws
- A frame of a cooked socket (SOCK_DGRAM) begins at its network layer: IP goes on as such, all else with the head that
  LINKTYPE_LINUX_SLL2 has, so that its protocol is not lost. A VLAN tag that the kernel has taken off stays off.
- A block that cannot be raises WireError.
"""

from collections.abc import Iterator
from struct import Struct as Layout
from struct import error as LayoutError

from collectors.sip.live.source import Frame
from collectors.sip.live.wire import WireError

BLOCK_HEAD = Layout("=8xIIII24x")
"""Status, number of frames, where the first stands, length of all."""
FRAME_HEAD = Layout("=IIIIIIH24x2siH2s8s")
"""Octets to the next frame, seconds, nanoseconds, octets captured, octets there were, status, where the frame begins; then
the sockaddr_ll: protocol, index of the interface, ARPHRD type, packet type and length of the address, address."""

LINKTYPE_RAW = 101
LINKTYPE_LINUX_SLL2 = 276
IP = frozenset((b"\x08\x00", b"\x86\xdd"))
_SLL2 = Layout(">2s2xIH2s8s")


def frame_count(block: bytes) -> int:
    return int(BLOCK_HEAD.unpack_from(block)[1])


def frames(block: bytes) -> Iterator[Frame]:
    """Raises WireError."""
    try:
        _, count, at, _ = BLOCK_HEAD.unpack_from(block)
        head = FRAME_HEAD.unpack_from
        for _ in range(count):
            following, seconds, nanoseconds, captured, _, _, begin, protocol, index, hardware, kind, address = head(
                block, at
            )
            data = block[at + begin : at + begin + captured]
            if len(data) != captured:
                raise WireError("a frame ends outside of its block")
            at_us = seconds * 1_000_000 + nanoseconds // 1_000
            if protocol in IP:
                yield Frame(at_us, LINKTYPE_RAW, data)
            else:
                yield Frame(at_us, LINKTYPE_LINUX_SLL2, _SLL2.pack(protocol, index, hardware, kind, address) + data)
            at += following
    except LayoutError as error:
        raise WireError(f"a block that cannot be: {error}") from error
