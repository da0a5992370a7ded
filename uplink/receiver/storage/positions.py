"""Which positions rows take that are written again. Pure.

A position orders events as they came, and who reads on by position has what is below his. So a row that was lost takes a place
that is free between its neighbours': the one that it had, where nothing else was lost there.
"""

from collections.abc import Sequence
from itertools import islice

from msgspec import Struct

SEARCH_MAX = 100_000
"""Places that are looked at for a free one."""


class Neighbours(Struct, frozen=True, kw_only=True):
    """Of numbers that are missing: the positions of the nearest rows of the epoch before and behind them (0: there is none),
    and how many numbers are missing up to the one behind."""

    before: int
    behind: int
    missing: int


def free_positions(wanted: int, beside: Neighbours, used: Sequence[int]) -> list[int]:
    """So many free positions between the neighbours, ascending, or fewer. `used`: those that are taken between them, ascending
    from the one before where there is one, else descending from the one behind; at most SEARCH_MAX."""
    taken, searched = set(used), len(used) >= SEARCH_MAX
    if not beside.behind:
        return []
    if beside.before:
        upwards = range(beside.before + 1, used[-1] if searched else beside.behind)
        return list(islice((place for place in upwards if place not in taken), wanted))
    downwards = range(beside.behind - 1, used[-1] if searched else 0, -1)
    return list(islice((place for place in downwards if place not in taken), beside.missing))[::-1][:wanted]


def runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers -> first and last of each run without a gap."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found
