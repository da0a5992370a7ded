"""What following packets may keep at most. Each bound has its reason beside it, and a counter of how often it was met."""

from msgspec import Struct


class Bounds(Struct, frozen=True, kw_only=True):
    streams: int = 4_096
    """Directions of connections followed at once, TCP and SCTP each. One that is pushed out while nothing of it is unfinished
    loses nothing: it is joined again in its midst."""

    stream_bytes: int = 1_048_576
    """Bytes of unfinished messages and of segments that came too early, kept for one direction of one connection."""

    streams_bytes: int = 16_777_216
    """The same bytes over all streams together."""

    fragmented: int = 4_096
    """Fragmented datagrams put together at once, IPv4 and IPv6 each. Their pieces come within milliseconds: even at 1,000
    fragmented messages a second a handful are unfinished at a time."""

    fragmented_bytes: int = 4_194_304
    """Bytes of their pieces: what Linux keeps (net.ipv4.ipfrag_high_thresh)."""
