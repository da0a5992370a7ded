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
from uplink.receiver.storage import EpochState, Exceptional

COUNTED: Final = 0
KNOWN: Final = 1
REJECTED: Final = 2
STATUS_NAMES = {COUNTED: "counted", KNOWN: "known", REJECTED: "rejected"}

_exact = Context(prec=64)
"""18 digits before the point and 12 behind it, summed up over 10^30 events."""


class Row(NamedTuple):
    """An event as it is stored. That of a withheld event has a number and nothing else."""

    seq: int
    status: int
    id: str
    meter: str
    time_ms: int
    quantity: str
    unit: str
    body: bytes


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
    """`reached_ms`: the latest time of a counted event, 0 for none."""

    rows: list[Row]
    exemptions: list[Exemption]
    sums: list[Sum]
    calls: list[HourSum]
    counted: int
    known: int
    rejected: int
    reached_ms: int


def reckon(head: Head, events: Sequence[Screened], known: frozenset[str]) -> Reckoned:
    """`events`: those of the batch that are new; `known`: the ids that the site's other epochs have counted."""
    counted = [event for event in events if not event.refused and event.id not in known]
    exemptions = [*_refused(events), *_known(events, known), *_withheld(head)]
    return Reckoned(
        rows=[_row(event, known) for event in events]
        + [Row(head.first, REJECTED, "", "", 0, "", "", b"")] * bool(head.withheld),
        exemptions=exemptions,
        sums=_sums(counted),
        calls=_calls(counted),
        counted=len(counted),
        known=sum(each.status == KNOWN for each in exemptions),
        rejected=sum(each.status == REJECTED for each in exemptions),
        reached_ms=max((event.time_ms for event in counted), default=0),
    )


def _row(event: Screened, known: frozenset[str]) -> Row:
    status = REJECTED if event.refused else KNOWN if event.id in known else COUNTED
    return Row(event.seq, status, event.id, event.meter, event.time_ms, event.quantity, event.unit, event.body)


def _refused(events: Sequence[Screened]) -> list[Exemption]:
    return [Exemption(event.seq, REJECTED, event.refused, event.message) for event in events if event.refused]


def _known(events: Sequence[Screened], known: frozenset[str]) -> list[Exemption]:
    return [Exemption(event.seq, KNOWN, "", "") for event in events if not event.refused and event.id in known]


def _withheld(head: Head) -> list[Exemption]:
    return [Exemption(head.first, REJECTED, head.withheld, "withheld at the site")] if head.withheld else []


def _sums(counted: Sequence[Screened]) -> list[Sum]:
    groups: dict[tuple[str, str, str], list[Decimal]] = defaultdict(list)
    for event in counted:
        groups[event.day, event.meter, event.unit].append(Decimal(event.quantity))
    return [Sum(*key, len(quantities), exact_sum(quantities)) for key, quantities in groups.items()]


def _calls(counted: Sequence[Screened]) -> list[HourSum]:
    groups: dict[tuple[str, int], list[Decimal]] = defaultdict(list)
    for event in counted:
        if event.meter == CALL:
            groups[event.day, event.time_ms // HOUR_MS % 24].append(Decimal(event.quantity))
    return [HourSum(*key, exact_sum(quantities)) for key, quantities in groups.items()]


def by_hour(rows: Iterable[tuple[int, Decimal]]) -> list[Decimal]:
    """Rows of hour and quantity -> 24 quantities."""
    found = dict(rows)
    return [found.get(hour, Decimal(0)) for hour in range(24)]


def exact_sum(quantities: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for quantity in quantities:
        total = _exact.add(total, quantity)
    return total


def exceptional(seq: int, status: int, code: str, message: str) -> Exceptional:
    return Exceptional(seq=seq, status=STATUS_NAMES[status], code=code, message=message)


_CONTINUES = {None: "unnamed", 0: "no", 1: "yes"}


def continues(number: int, matches: int | None) -> str:
    """What `EpochState.continues` says of a site's epoch `number` (the first is 0) whose named predecessor matched or not."""
    return "first" if not number and matches is None else _CONTINUES[matches]


def epoch_states(rows: Iterable[tuple[str, int, bytes, int, int, int, int | None, int, int, int]]) -> list[EpochState]:
    """A site's rows of epochs, in their order: name, acked_through, chain, began, seen, skew, after_matches, counted, known,
    rejected."""
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
        )
        for number, (name, acked, chain, began, seen, skew, matches, counted, known, rejected) in enumerate(rows)
    ]
