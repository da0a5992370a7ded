"""Port numbers and ranges as the configuration writes them."""

from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]
"""First and last port of each, in order, none touching the next."""

RANGES_MAX = 64
"""More than a site has; the kernel's filter compares each packet with each of them, twice."""


def parse_ports(texts: Iterable[str]) -> Ranges:
    """`5060` and `5060-5080` alike; ranges that touch become one. Raises ValueError with a sentence."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(map(_range, texts)):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    if len(merged) > RANGES_MAX:
        raise ValueError(f"{len(merged)} ranges of ports are too many: at most {RANGES_MAX}; write wider ones")
    return tuple(merged)


def _range(text: str) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    ends = [low, high] if dash else [low, low]
    if not all(end.isascii() and end.isdigit() for end in ends):
        raise ValueError(f'"{text}" is no port and no range; write 5060 or 5060-5080')
    first, last = map(int, ends)
    if not 0 < first <= last <= 65_535:
        raise ValueError(f'"{text}" is no range of ports from 1 to 65535')
    return first, last
