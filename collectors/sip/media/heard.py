"""What reports tell of a stream that was not counted itself: RTCP, its XR, vq-rtcpxr. Pure.

Laws
- Totals are the sender's and receiver's own and cumulative: the latest counts, however many were lost before it.
- What a report does not say changes nothing.
"""

from msgspec import Struct

from collectors.sip.media.report import Report

SSRC_UNKNOWN = -1


class Heard(Struct, array_like=True):
    """One stream by its SSRC, in one direction of one call."""

    from_caller: bool
    ssrc: int
    told_by: str
    src: str
    dst: str
    started_us: int
    last_us: int = 0
    packets: int = 0
    octets: int = 0
    lost: int = 0
    jitter_sum_us: float = 0.0
    jitter_count: int = 0
    mos: int | None = None
    r_factor: int | None = None
    round_trip_us: int | None = None

    @property
    def jitter_us(self) -> int:
        return round(self.jitter_sum_us / self.jitter_count) if self.jitter_count else 0


def begin(report: Report, from_caller: bool) -> Heard:
    ssrc = SSRC_UNKNOWN if report.ssrc is None else report.ssrc
    return Heard(from_caller, ssrc, report.told_by, report.src, report.dst, report.at_us)


def take(heard: Heard, report: Report, clock_hz: int) -> None:
    """`clock_hz`: of the stream's codec, for a jitter that is told in its units."""
    heard.last_us = max(heard.last_us, report.at_us)
    heard.src, heard.dst = heard.src or report.src, heard.dst or report.dst
    if report.packets is not None:
        heard.packets = report.packets
    if report.octets is not None:
        heard.octets = report.octets
    if report.lost is not None:
        heard.lost = report.lost
    jitter_us = report.jitter_us
    if jitter_us is None and report.jitter_units is not None:
        jitter_us = report.jitter_units * 1_000_000 // clock_hz
    if jitter_us is not None:
        heard.jitter_sum_us += jitter_us
        heard.jitter_count += 1
    heard.mos = heard.mos if report.mos is None else report.mos
    heard.r_factor = heard.r_factor if report.r_factor is None else report.r_factor
    heard.round_trip_us = heard.round_trip_us if report.round_trip_us is None else report.round_trip_us
