"""A block of the kernel's TPACKET_V3 ring: frames one after the other, each with its own head. Pure.

Layouts: struct tpacket_block_desc, struct tpacket3_hdr and struct sockaddr_ll of linux/if_packet.h.

Laws
- A frame is taken from its network layer on, which the kernel has found, and beside which stands its protocol: it goes on as
  an Ethernet frame without addresses, whatever the interface. A VLAN tag that the kernel has taken off stays off.
- A block that cannot be raises WireError.
"""

from collections.abc import Iterator
from struct import Struct as Layout
from struct import error as LayoutError

from collectors.sip.live.source import Frame
from collectors.sip.live.wire import WireError

BLOCK_HEAD = Layout("=8xIIII24x")
"""Status, number of frames, where the first stands, length of all."""
FRAME_HEAD = Layout("=IIII8xHH22x2s")
"""Octets to the next frame, seconds, nanoseconds, octets captured, where the frame and where its network layer
begins; then of the sockaddr_ll the protocol."""

LINKTYPE_ETHERNET = 1
NO_ADDRESSES = bytes(12)


def frame_count(block: bytes) -> int:
    return int(BLOCK_HEAD.unpack_from(block)[1])


def frames(block: bytes) -> Iterator[Frame]:
    """Raises WireError."""
    try:
        _, count, at, _ = BLOCK_HEAD.unpack_from(block)
        head = FRAME_HEAD.unpack_from
        for _ in range(count):
            following, seconds, nanoseconds, captured, begin, network, protocol = head(block, at)
            data = block[at + network : at + begin + captured]
            if begin > network or len(data) != begin + captured - network:
                raise WireError("a frame ends outside of its block")
            at_us = seconds * 1_000_000 + nanoseconds // 1_000
            yield Frame(at_us, LINKTYPE_ETHERNET, NO_ADDRESSES + protocol + data)
            at += following
    except LayoutError as error:
        raise WireError(f"a block that cannot be: {error}") from error
