"""What an endpoint, or a probe near it, reports of the media it receives: the one form for RTCP, RTCP XR, RTCP as JSON in
HEP, and RFC 6035's vq-rtcpxr.

Laws
- A report says only what its source said: what it did not say is None, never zero.
"""

from typing import Literal

from msgspec import Struct


class Report(Struct, frozen=True, kw_only=True, gc=False):
    """`src` and `dst` are the ends of the *media* stream that is reported on, sender first, as `ip:port` (`[ip]:port` for
    IPv6), the port being that of RTP; empty where the report does not tell. `call_id` is the SIP Call-ID where it does.
    `packets` and `octets` are what the stream's sender sent, `lost` what its receiver missed, both cumulative (RFC 3550
    section 6.4.1); `jitter_us` in microseconds, `mos` in hundredths of a point, `r_factor` 0 to 100."""

    at_us: int
    told_by: Literal["rtcp", "xr", "vq"]
    src: str = ""
    dst: str = ""
    call_id: bytes = b""
    ssrc: int | None = None
    packets: int | None = None
    octets: int | None = None
    lost: int | None = None
    jitter_us: int | None = None
    jitter_units: int | None = None
    """The same in units of the codec's clock, where only the session description knows that clock."""
    round_trip_us: int | None = None
    mos: int | None = None
    r_factor: int | None = None
