"""Charges -> micro-transactions: what is new against what was booked before, and nothing else.

Laws
- What is booked under a key only ever changes by events, so the sum of a slot's events is what its last charge says.
- An event's id comes from the site, the source, the key, the slot and how often that slot has changed before. The same
  history gives the same ids on any machine.
- A charge that repeats gives no event.
"""

from msgspec import Struct

from agent.metering.catalogue import METERS, RISK_UNIT, RISKS
from agent.metering.charge import Charge, SeatUse, Slot, decimal_text
from uplink.events import MicroTransaction, event_id, timed_id


class Entry(Struct, frozen=True, array_like=True, gc=False):
    """One slot of what is booked: the amount now, how many events made it, and the time that they carry."""

    slot: Slot
    amount: int
    events: int
    time_ms: int


class Booked(Struct, frozen=True, array_like=True, gc=False):
    """All that is booked under one key. A slot once used stays, at amount 0, so that its ids are not used again."""

    entries: tuple[Entry, ...] = ()
    seats: tuple[SeatUse, ...] = ()


class Booking(Struct, frozen=True, gc=False):
    """What a charge changes: events to write, the new state, seats gained and lost."""

    events: list[MicroTransaction]
    booked: Booked
    gained: list[SeatUse]
    lost: list[SeatUse]


NOTHING = Booked()
DETAIL_NAMES = {"call": "outcome", "feature.use": "feature", "fax.pages": "t38"}
"""meter -> what its slots' detail is called in its events."""
_UNITS = {meter: unit for meter, (unit, _) in METERS.items()} | dict.fromkeys(RISKS, RISK_UNIT)


def book(site: str, source: str, charge: Charge, booked: Booked = NOTHING) -> Booking:
    """Pure. `source` is the source's configured name: with the key it says which record the events come from."""
    reference = event_id(site, "call", source, charge.key)
    if booked is NOTHING:
        return _first_booking(charge, reference)
    before = {entry.slot: entry for entry in booked.entries}
    events: list[MicroTransaction] = []
    entries: list[Entry] = []
    for measure in charge.measures:
        entry = before.pop(measure.slot, None)
        if entry is None:
            entry = Entry(measure.slot, 0, 0, charge.time_ms)
        if entry.events == 0 or entry.amount != measure.amount:
            change = measure.amount - entry.amount
            events.append(_event(reference, entry.slot, entry.time_ms, entry.events, change, measure.told))
            entry = Entry(entry.slot, measure.amount, entry.events + 1, entry.time_ms)
        entries.append(entry)
    for entry in before.values():
        if entry.amount:
            events.append(_event(reference, entry.slot, entry.time_ms, entry.events, -entry.amount, {}))
            entry = Entry(entry.slot, 0, entry.events + 1, entry.time_ms)
        entries.append(entry)
    gained, lost = _seat_changes(booked.seats, charge.seats)
    return Booking(events, Booked(tuple(entries), charge.seats), gained, lost)


def _first_booking(charge: Charge, reference: str) -> Booking:
    """What `book` comes to where nothing is booked yet: nearly every call, so the short way."""
    events = []
    entries = []
    time_ms = charge.time_ms
    for measure in charge.measures:
        events.append(_event(reference, measure.slot, time_ms, 0, measure.amount, measure.told))
        entries.append(Entry(measure.slot, measure.amount, 1, time_ms))
    return Booking(events, Booked(tuple(entries), charge.seats), list(charge.seats), [])


def _event(
    reference: str, slot: Slot, time_ms: int, made: int, amount: int, told: dict[str, str | int]
) -> MicroTransaction:
    """The event that books `amount` millionths more (or less) in `slot`, after `made` events before it."""
    data: dict[str, str | int] = {"call": reference}
    if slot.call_class:
        data["class"] = slot.call_class
    if slot.country:
        data["country"] = slot.country
    if slot.detail:
        data[DETAIL_NAMES[slot.meter]] = slot.detail
    data.update(told)
    return MicroTransaction(
        id=timed_id(time_ms, reference, slot, made),
        meter=slot.meter,
        subject=slot.subject,
        time_ms=time_ms,
        quantity=decimal_text(amount),
        unit=_UNITS[slot.meter],
        data=data,
        corrects=timed_id(time_ms, reference, slot, 0) if made else "",
    )


def _seat_changes(old: tuple[SeatUse, ...], new: tuple[SeatUse, ...]) -> tuple[list[SeatUse], list[SeatUse]]:
    if not old:
        return list(new), []
    if old == new:
        return [], []
    return [use for use in new if use not in old], [use for use in old if use not in new]


class SeatDay(Struct, frozen=True, array_like=True, gc=False):
    """What is known of a seat on a local day: how many records show it active or registered, how often it used each
    feature, the level its seat-day is booked at (None: not booked), and how many events each level has had."""

    active: int = 0
    registered: int = 0
    features: dict[str, int] = {}
    level: str | None = None
    events: dict[str, int] = {}

    def changed(self, use: SeatUse, by: int) -> "SeatDay":
        """With so many uses more (`by` above 0) or less (below)."""
        features = self.features
        if use.features:
            features = dict(features)
            for code in use.features:
                features[code] = features.get(code, 0) + by
        active = self.active + by * use.active
        registered = self.registered + by * (not use.active)
        return SeatDay(active, registered, features, self.level, self.events)

    def used(self) -> list[str]:
        return [code for code, uses in self.features.items() if uses > 0]


def book_seat_day(
    site: str, seat: str, day: str, time_ms: int, state: SeatDay, level: str | None
) -> tuple[list[MicroTransaction], SeatDay]:
    """Book `seat` on `day` at `level` (None: it does not count). A change of level takes one seat-day back from the old level
    and books one at the new. `time_ms` is the start of the day."""
    if state.level == level:
        return [], state
    transactions = []
    events = dict(state.events)
    for of_level, quantity in ((state.level, "-1"), (level, "1")):
        if of_level is not None:
            made = events.get(of_level, 0)
            transactions.append(_seat_event(site, seat, day, time_ms, of_level, quantity, made))
            events[of_level] = made + 1
    return transactions, SeatDay(state.active, state.registered, state.features, level, events)


def _seat_event(site: str, seat: str, day: str, time_ms: int, level: str, quantity: str, made: int) -> MicroTransaction:
    slot = Slot("seat.day", seat, day, detail=level)
    data: dict[str, str | int] = {"day": day}
    if level:
        data["level"] = level
    return MicroTransaction(
        id=timed_id(time_ms, site, slot, made),
        meter="seat.day",
        subject=seat,
        time_ms=time_ms,
        quantity=quantity,
        unit=_UNITS["seat.day"],
        data=data,
        corrects=timed_id(time_ms, site, slot, 0) if made else "",
    )
