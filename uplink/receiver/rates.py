"""Who came how often: token buckets by key. Pure: time comes in.

Laws
- A bucket that is full again is as good as none, so only BUCKETS_MAX of them are kept, and the one that was used longest ago
  goes first. Who comes from so many addresses that his own are forgotten gets their bursts anew, and no more than that.
- A request that is refused takes nothing from the bucket: who asks too often is served at the rate, not locked out.
"""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address

from uplink.receiver.limits import Rate

BUCKETS_MAX = 20_000
"""Twice the sites that one receiver is made for; some 200 bytes each."""
IPV6_PREFIX = 64
"""What a subscriber is given at least (RFC 6177): addresses in it cost him nothing."""


class Buckets:
    def __init__(self, rate: Rate, size_max: int = BUCKETS_MAX) -> None:
        self._rate = rate
        self._size_max = size_max
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.refused = 0

    def wait_s(self, key: str, now_s: float) -> float:
        """0 where this request may pass, else after how long one may."""
        left, at_s = self._left.pop(key, (float(self._rate.burst), now_s))
        left = min(self._rate.burst, left + max(0.0, now_s - at_s) * self._rate.per_s)
        passes = left >= 1
        self._left[key] = (left - 1 if passes else left, now_s)
        if len(self._left) > self._size_max:
            self._left.popitem(last=False)
        if passes:
            return 0.0
        self.refused += 1
        return (1 - left) / self._rate.per_s

    def __len__(self) -> int:
        return len(self._left)


def address_key(address: str) -> str:
    """What an address counts as: itself, its network for IPv6; anything else as it stands."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> IPV6_PREFIX << IPV6_PREFIX))
    return str(parsed)
