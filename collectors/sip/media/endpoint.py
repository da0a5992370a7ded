"""Addresses of media as reports write them, brought to the one form of `Report.src` and `Report.dst`. Pure.

Laws
- What is no IP address with a port gives an empty text, and never an error: reports in the field name hosts, leave addresses
  out, or hold some that cannot be (`10.0.3.321`).
"""

from ipaddress import ip_address


def endpoint(host: str, port: int | str) -> str:
    """`ip:port`, or `[ip]:port` for IPv6; empty where the two are none."""
    try:
        address, number = ip_address(host.strip().strip("[]")), int(port)
    except ValueError:
        return ""
    if not 0 < number < 65_536:
        return ""
    return f"[{address}]:{number}" if address.version == 6 else f"{address}:{number}"


def rtp_side(address: str) -> str:
    """The RTP end of an address that RTCP was sent from or to: one port lower where that is odd (RFC 3550 section 11: RTP has
    the even port), the same where both share one (RFC 5761); empty stays empty."""
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) - 1}" if port and int(port) % 2 else address
