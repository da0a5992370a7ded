"""What the office played beside what the receiver holds: call by call, and seat by seat. Pure.

Laws
- An event is counted with its sign: a call is right when all events that name it net to one call and its minutes, of one
  class, for one consumer; a correction that takes back what it should is no difference.
- Whatever the receiver holds of the time that was played and that the office knows nothing of is a difference too.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from msgspec import Struct

from agent.demo.office import PlayedCall
from agent.demo.wording import count
from uplink.events import MicroTransaction, event_id

SeatDay = tuple[str, str]
"""A seat and the local day, `2026-11-20`."""
Slot = tuple[str, str, str, str]
"""Meter, class, country, consumer."""
SHOWN_MAX = 40
"""Differences written out; more are counted only."""


class Truth(Struct, frozen=True, kw_only=True):
    """What the office played since `since_ms`. `known_seat_days`: what the receiver held before."""

    site_id: str
    since_ms: int
    calls: Sequence[PlayedCall]
    seat_days: Collection[SeatDay]
    known_seat_days: Collection[SeatDay] = ()


class Tally(Struct):
    """One line of the table: how many calls and billed seconds were played and are held."""

    played: int = 0
    played_s: int = 0
    held: Decimal = Decimal(0)
    held_s: Decimal = Decimal(0)
    differences: int = 0


class Comparison(Struct, frozen=True):
    tallies: dict[str, Tally]
    seats_played: int
    seats_held: int
    differences: list[str]


class _Held(Struct):
    """What the receiver holds under one reference."""

    time_ms: int
    net: dict[Slot, Decimal]
    outcome: str = ""


def compare(truth: Truth, events: Iterable[MicroTransaction]) -> Comparison:
    events = list(events)
    held = _calls_held(event for event in events if event.time_ms >= truth.since_ms)
    by_start = defaultdict(list)
    for reference, found in held.items():
        by_start[found.time_ms].append(reference)
    tallies: dict[str, Tally] = defaultdict(Tally)
    differences: list[str] = []
    for call in sorted(truth.calls, key=lambda call: call.started_at_ms):
        references = _references(truth.site_id, call, held, by_start)
        wrong = [f"{_named(call)}: {text}" for text in _judge(call, [held.pop(one) for one in references], tallies)]
        tallies[_line(call)].differences += len(wrong)
        differences += wrong
    differences += [_unplayed(reference, found) for reference, found in held.items()]
    seats = {place: net for place, net in _seats_held(events).items() if net}
    differences += _seat_differences(truth, seats)
    days = {day for _, day in truth.seat_days}
    return Comparison(
        dict(sorted(tallies.items())),
        len(set(truth.seat_days)),
        sum(place[1] in days and place in truth.seat_days for place in seats),
        differences,
    )


def _calls_held(events: Iterable[MicroTransaction]) -> dict[str, _Held]:
    held: dict[str, _Held] = {}
    for event in events:
        reference = str(event.data.get("call", ""))
        if not reference or event.meter not in ("call", "voice.minutes"):
            continue
        found = held.setdefault(reference, _Held(event.time_ms, {}))
        slot = (event.meter, str(event.data.get("class", "")), str(event.data.get("country", "")), event.subject)
        found.net[slot] = found.net.get(slot, Decimal(0)) + Decimal(event.quantity)
        if event.meter == "call" and Decimal(event.quantity) > 0:
            found.outcome = str(event.data.get("outcome", ""))
    return held


def _references(site_id: str, call: PlayedCall, held: dict[str, _Held], by_start: dict[int, list[str]]) -> list[str]:
    """By the call's own key where the agent keeps it (Asterisk's linkedid). What a SIP dialog's key is made of is the agent's
    affair: there the millisecond at which the call began tells it, and no two of the office's begin in the same one."""
    if call.way == "cdr":
        reference = event_id(site_id, "call", call.way, call.key)
        return [reference] if reference in held else []
    return [reference for reference in by_start.get(call.started_at_ms, ()) if reference in held]


def _expected(call: PlayedCall) -> dict[Slot, Decimal]:
    consumer = call.answered_by if call.outside else call.caller
    slots = {("call", call.call_class, call.country, consumer): Decimal(1)}
    if call.answered_at_ms is not None:
        slots["voice.minutes", call.call_class, call.country, consumer] = Decimal(call.billed_s) / 60
    return slots


def _judge(call: PlayedCall, found: list[_Held], tallies: dict[str, Tally]) -> Iterable[str]:
    """Book the call in its line, and say what is wrong with it."""
    net: dict[Slot, Decimal] = defaultdict(Decimal)
    for one in found:
        for slot, quantity in one.net.items():
            net[slot] += quantity
    tally = tallies[_line(call)]
    tally.played += 1
    tally.played_s += call.billed_s
    tally.held += sum((quantity for slot, quantity in net.items() if slot[0] == "call"), Decimal(0))
    tally.held_s += sum((quantity * 60 for slot, quantity in net.items() if slot[0] == "voice.minutes"), Decimal(0))
    expected = _expected(call)
    if not found:
        return ["the receiver holds nothing of it"]
    wrong = [
        f"{_told(slot)}: {_number(net.get(slot))} held, {_number(expected.get(slot))} played"
        for slot in sorted(expected.keys() | net.keys())
        if net.get(slot, Decimal(0)) != expected.get(slot, Decimal(0))
    ]
    if found[-1].outcome != call.outcome:
        wrong.append(f"outcome: {found[-1].outcome or 'none'} held, {call.outcome} played")
    return wrong


def _line(call: PlayedCall) -> str:
    return f"{call.way}  {call.kind}"


def _named(call: PlayedCall) -> str:
    return f"{call.way} {call.kind}, {call.caller} to {call.dialled} at {_clock(call.started_at_ms)} ({call.key})"


def _clock(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M:%S")


def _told(slot: Slot) -> str:
    return " ".join(filter(None, (slot[0], slot[1], slot[2], f"of {slot[3]}")))


def _number(quantity: Decimal | None) -> str:
    return f"{(quantity or Decimal(0)).normalize():f}"


def _unplayed(reference: str, found: _Held) -> str:
    net = ", ".join(f"{_told(slot)} {_number(quantity)}" for slot, quantity in found.net.items())
    return f"a call that the office did not play, at {_clock(found.time_ms)}: {net} (reference {reference})"


def _seats_held(events: Iterable[MicroTransaction]) -> dict[SeatDay, Decimal]:
    net: dict[SeatDay, Decimal] = defaultdict(Decimal)
    for event in events:
        if event.meter == "seat.day":
            net[event.subject, str(event.data.get("day", ""))] += Decimal(event.quantity)
    return net


def seat_days_held(events: Iterable[MicroTransaction]) -> frozenset[SeatDay]:
    """The seat-days that stand."""
    return frozenset(place for place, net in _seats_held(events).items() if net)


def _seat_differences(truth: Truth, held: dict[SeatDay, Decimal]) -> Iterable[str]:
    played, known = set(truth.seat_days), set(truth.known_seat_days)
    for seat, day in sorted(played - held.keys()):
        yield f"seat {seat} on {day}: no seat-day is held"
    for seat, day in sorted(held.keys() - played - known):
        yield f"seat {seat} on {day}: a seat-day is held, and the seat did nothing"
    for (seat, day), net in sorted(held.items()):
        if net != 1:
            yield f"seat {seat} on {day}: {_number(net)} seat-days are held"


def table(comparison: Comparison) -> list[str]:
    """The comparison as lines for a terminal."""
    head = f"{'':<24}{'played':>8}{'minutes':>10}{'held':>8}{'minutes':>10}{'differences':>14}"
    lines = [head, *(_row(name, tally) for name, tally in comparison.tallies.items())]
    total = Tally()
    for tally in comparison.tallies.values():
        total.played += tally.played
        total.played_s += tally.played_s
        total.held += tally.held
        total.held_s += tally.held_s
        total.differences += tally.differences
    lines.append(_row("all calls", total))
    lines.append(f"{'seat-days':<24}{comparison.seats_played:>8}{'':>10}{comparison.seats_held:>8}")
    return lines


def _row(name: str, tally: Tally) -> str:
    played, held = Decimal(tally.played_s) / 60, tally.held_s / 60
    wrong = str(tally.differences or "-")
    return f"{name:<24}{tally.played:>8}{played:>10.1f}{tally.held:>8f}{held:>10.1f}{wrong:>14}"


def verdict(comparison: Comparison) -> list[str]:
    """What is to be said below the table: every difference, up to SHOWN_MAX, or that there is none."""
    wrong = comparison.differences
    if not wrong:
        calls = sum(tally.played for tally in comparison.tallies.values())
        played = f"{count(calls, 'call')} and {count(comparison.seats_played, 'seat-day')}"
        return [f"no difference: {played} are held as they were played"]
    more = [f"  and {len(wrong) - SHOWN_MAX} more"] if len(wrong) > SHOWN_MAX else []
    return [f"{count(len(wrong), 'difference')}:", *(f"  {text}" for text in wrong[:SHOWN_MAX]), *more]


def seat_days_played(
    calls: Iterable[PlayedCall], registered: Iterable[tuple[str, int]], day_of: Callable[[int], str]
) -> set[SeatDay]:
    """Who was in a call or registered, on the day on which that began."""
    active = {(seat, day_of(call.started_at_ms)) for call in calls for seat in call.seats}
    return active | {(desk, day_of(at_ms)) for desk, at_ms in registered}
