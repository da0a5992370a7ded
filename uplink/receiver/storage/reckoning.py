"""What becomes of a batch's events, for every storage that keeps rows of them. Pure.

Laws
- Each number of an epoch has one row: counted, known from an earlier epoch, or rejected. The last two have an exception too.
- Sums are decimals from end to end; no binary fraction comes near a quantity.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Context, Decimal
from typing import Final, NamedTuple

from msgspec import Struct

from uplink.batch import Head
from uplink.receiver.screen import Screened
from uplink.receiver.storage import EpochState, Exceptional, StoredEvent

COUNTED: Final = 0
KNOWN: Final = 1
REJECTED: Final = 2
STATUS_NAMES = {COUNTED: "counted", KNOWN: "known", REJECTED: "rejected"}

exact_add = Context(prec=64).add
"""18 digits before the point and 12 behind it, summed up over 10^30 events."""


class Exemption(NamedTuple):
    """An event that is stored and not counted, and why."""

    seq: int
    status: int
    code: str
    message: str


class Sum(NamedTuple):
    """Of the counted events of one day, meter and unit."""

    day: str
    meter: str
    unit: str
    events: int
    quantity: Decimal


CALL: Final = "call"
HOUR_MS: Final = 3_600_000


class HourSum(NamedTuple):
    """Of the counted `call` events of one UTC hour."""

    day: str
    hour: int
    quantity: Decimal


class Reckoned(Struct, frozen=True, kw_only=True):
    """`events`: every new number of the batch, with what becomes of each in `statuses`; a withheld one has a number and
    nothing else. `reached_ms`: the latest time of a counted event, 0 for none."""

    events: Sequence[Screened]
    statuses: list[int]
    exemptions: list[Exemption]
    sums: list[Sum]
    calls: list[HourSum]
    counted: int
    known: int
    rejected: int
    reached_ms: int


def reckon(head: Head, events: Sequence[Screened], known: frozenset[str]) -> Reckoned:
    """`events`: those of the batch that are new; `known`: the ids that the site's other epochs have counted."""
    if head.withheld:
        events = [*events, Screened(head.first, b"", refused=head.withheld, message="withheld at the site")]
    statuses = [REJECTED if event.refused else KNOWN if event.id in known else COUNTED for event in events]
    exemptions = [
        Exemption(event.seq, status, event.refused, event.message)
        for event, status in zip(events, statuses, strict=True)
        if status != COUNTED
    ]
    counted = [event for event, status in zip(events, statuses, strict=True) if status == COUNTED]
    return Reckoned(
        events=events,
        statuses=statuses,
        exemptions=exemptions,
        sums=_sums(counted),
        calls=_calls(counted),
        counted=len(counted),
        known=statuses.count(KNOWN),
        rejected=statuses.count(REJECTED),
        reached_ms=max([event.time_ms for event in counted], default=0),
    )


def _sums(counted: Sequence[Screened]) -> list[Sum]:
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for event in counted:
        groups[event.day, event.meter, event.unit].append(event.quantity)
    return [Sum(*key, len(quantities), exact_sum(map(Decimal, quantities))) for key, quantities in groups.items()]


def _calls(counted: Sequence[Screened]) -> list[HourSum]:
    groups: dict[tuple[str, int], list[str]] = defaultdict(list)
    for event in counted:
        if event.meter == CALL:
            groups[event.day, event.time_ms // HOUR_MS % 24].append(event.quantity)
    return [HourSum(*key, exact_sum(map(Decimal, quantities))) for key, quantities in groups.items()]


def by_hour(rows: Iterable[tuple[int, Decimal]]) -> list[Decimal]:
    """Rows of hour and quantity -> 24 quantities."""
    found = dict(rows)
    return [found.get(hour, Decimal(0)) for hour in range(24)]


def exact_sum(quantities: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for quantity in quantities:
        total = exact_add(total, quantity)
    return total


def stored(row: tuple[int, str, int, int, bytes]) -> StoredEvent:
    position, epoch, seq, status, body = row
    return StoredEvent(position=position, epoch=epoch, seq=seq, status=STATUS_NAMES[status], body=body)


def exceptional(seq: int, status: int, code: str, message: str) -> Exceptional:
    return Exceptional(seq=seq, status=STATUS_NAMES[status], code=code, message=message)


_CONTINUES = {None: "unnamed", 0: "no", 1: "yes"}


def continues(number: int, matches: int | None) -> str:
    """What `EpochState.continues` says of a site's epoch `number` (the first is 0) whose named predecessor matched or not."""
    return "first" if not number and matches is None else _CONTINUES[matches]


def epoch_states(
    rows: Iterable[tuple[str, int, bytes, int, int, int, int | None, int, int, int, int]],
) -> list[EpochState]:
    """A site's rows of epochs, in their order: name, acked_through, chain, began, seen, skew, after_matches, counted, known,
    rejected, lost."""
    return [
        EpochState(
            epoch=name,
            acked_through=acked,
            chain=chain,
            began_ms=began,
            seen_ms=seen,
            skew_ms=skew,
            continues=continues(number, matches),
            counted=counted,
            known=known,
            rejected=rejected,
            lost=lost,
        )
        for number, (name, acked, chain, began, seen, skew, matches, counted, known, rejected, lost) in enumerate(rows)
    ]
