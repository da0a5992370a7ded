"""How much the receiver takes of whom."""

from msgspec import Struct

from uplink.batch import CONTRACT, ENCODED_MAX_BYTES, BatchLimits


class Rate(Struct, frozen=True):
    """A token bucket: so many requests a second in the long run, and so many at once."""

    per_s: float
    burst: int


class Limits(Struct, frozen=True, kw_only=True):
    """Of one receiver.

    `body_max_bytes`: one encoded body; `batch`: what is in it. The contract has the most: what is logged must be read again
    anywhere. `body_timeout_s`: for all of it; 500 kB at 64 kbit/s take 63 s. `held_max_bytes`: of bodies that come in, wait
    or are worked on; some 5,000 ordinary ones. `inflight_max`: those that are worked on at once, each up to 8 MiB then: as
    many as one commit takes. `turn_timeout_s`: how long one waits for that, so that the answer comes within the 60 s that an
    agent waits. What is beyond these is asked to come again.

    `connections_max`: open at once, each some 30 kB, with TLS 100 kB; `connections_per_address`: a building full of sites
    behind one address; none for a named proxy, for through it all have its address. `head_timeout_s`: for TLS's handshake;
    and from the first octet of a request (of the connection, for the first) to the end of its headers. `stalled_timeout_s`: how
    long a client may take none of an answer.

    `site_rate`: 200,000 events a second in full batches, more than an agent sends; who streams makes two requests a second.
    `address_rate`: 10,000 sites behind one address that come back together are through in ten seconds."""

    body_max_bytes: int = ENCODED_MAX_BYTES
    batch: BatchLimits = CONTRACT
    body_timeout_s: float = 75.0
    held_max_bytes: int = 256 * 1024 * 1024
    inflight_max: int = 64
    turn_timeout_s: float = 20.0
    connections_max: int = 4096
    connections_per_address: int = 1024
    head_timeout_s: float = 15.0
    stalled_timeout_s: float = 120.0
    site_rate: Rate = Rate(200.0, 500)
    address_rate: Rate = Rate(500.0, 5000)
