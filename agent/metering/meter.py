"""Records -> charges: the heart of the metering, and pure.

Laws
- The same record and rules give the same charge; no clock, no state, no order.
- A call is one `call`, and one `voice.minutes` if it was answered, whatever its legs.
- Who consumed a call: the seat that placed it, else the seat that answered it, else the only seat it was offered to,
  else the number it was for.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

from msgspec.structs import replace

from agent.metering import media
from agent.metering.catalogue import DAILY
from agent.metering.charge import UNIT, Charge, Measure, SeatUse, Slot, minutes_amount
from agent.metering.classes import CACHE_ENTRIES, Dialled, classify
from agent.metering.days import day_bounds, local_day
from agent.metering.pattern import compiled
from agent.metering.rules import Metering, Site
from collectors.records import Call, FeatureUse, Registration, Risk
from uplink.events import instant

MASKED_DIGITS = 4
"""How many digits at the end of an outside number are hidden before it leaves the site (the subscriber's own part)."""

SHORT_NUMBER = 7
"""Numbers shorter than this are the office's own (extensions, services) and tell nothing of an outsider."""


def billed_seconds(talk_ms: int, increment_s: int, minimum_s: int) -> int:
    """Started increments count whole, and no answered call is below the minimum: 61 s at 60/60 is 120 s."""
    increments = -(-talk_ms // (increment_s * 1000))
    return max(increments * increment_s, minimum_s)


def _media(call: Call, subject: str, day: str) -> Iterator[Measure]:
    if octets := media.octets(call):
        yield Measure(Slot("media.gb", subject, day), media.volume_amount(octets), {"octets": octets})
    if pages := media.pages(call):
        yield Measure(Slot("fax.pages", subject, day, detail="yes"), pages * UNIT, {})


INBOUND = Dialled("inbound")
INTERNAL = Dialled("internal")


class Meter:
    """The rules of one site, ready to be applied."""

    def __init__(self, site: Site, metering: Metering) -> None:
        self.site = site
        self.metering = metering
        matches = compiled(site.dialplan.extensions).fullmatch
        self._shown = lru_cache(maxsize=CACHE_ENTRIES)(self.shown)
        self._is_seat = lru_cache(maxsize=CACHE_ENTRIES)(lambda endpoint: matches(endpoint) is not None)
        self._class_of = lru_cache(maxsize=CACHE_ENTRIES)(lambda digits, out: classify(digits, site.dialplan, out))
        self._levels = _cumulative(metering)

    # --- calls

    def call(self, call: Call) -> Charge:
        caller_seat = self._caller_seat(call)
        dialled = self._classify(call, caller_seat)
        subject = caller_seat or self._consumer(call)
        started_at_ms = call.started_at_ms
        day = local_day(started_at_ms, self.site.timezone)
        slot = Slot("call", subject, day, dialled.call_class, dialled.country, call.outcome)
        measures = [Measure(slot, UNIT, self._told(call))]
        billed_s = 0
        if call.answered_at_ms is not None:
            talk_ms = call.talk_ms
            minimum_s = 0 if call.partial else self.metering.minimum_s  # what was not heard is not billed
            billed_s = billed_seconds(talk_ms, self.metering.increment_s, minimum_s)
            slot = Slot("voice.minutes", subject, day, dialled.call_class, dialled.country)
            if billed_s or not call.partial:
                measures.append(Measure(slot, minutes_amount(billed_s), {"billed_s": billed_s, "talk_ms": talk_ms}))
        if call.media:
            measures += _media(call, subject, day)
        if call.features:
            measures += self._features(call, subject, day)
        seats = self._seats_of(call, caller_seat, day)
        return Charge(call.key, started_at_ms, tuple(measures), seats, dialled.call_class, billed_s)

    def _caller_seat(self, call: Call) -> str:
        """The caller's endpoint where that is an extension, else its number where the call came over no trunk: phones may have
        names of their own (`SIP/alice`). Called parties have no such second way: theirs may be a group's number."""
        endpoint = call.caller.endpoint
        if self._is_seat(endpoint):
            return endpoint
        return call.caller.number if endpoint and not call.trunk_in and self._is_seat(call.caller.number) else ""

    def _classify(self, call: Call, caller_seat: str) -> Dialled:
        if not caller_seat:
            return INBOUND
        if call.dialled in call.offered and self._is_seat(call.dialled):
            return INTERNAL
        return self._class_of(call.dialled, bool(call.trunk_out))

    def _consumer(self, call: Call) -> str:
        """Who consumed a call that no seat placed."""
        if call.answered_by and self._is_seat(call.answered_by.endpoint):
            return call.answered_by.endpoint
        offered = [endpoint for endpoint in call.offered if self._is_seat(endpoint)]
        return offered[0] if len(offered) == 1 else call.dialled or call.trunk_in or "site"

    def _told(self, call: Call) -> dict[str, str | int]:
        told: dict[str, str | int] = {"talk_ms": call.talk_ms}
        if self.is_withheld(call):
            told["private"] = 1
        elif caller := self._shown(call.caller.number or call.caller.endpoint):
            told["caller"] = caller
        if dialled := self._shown(call.dialled):
            told["dialled"] = dialled
        if call.answered_by and call.answered_by.endpoint:
            told["answered_by"] = self._shown(call.answered_by.endpoint) or "seat"
        if call.trunk_in or call.trunk_out:
            told["trunk"] = call.trunk_in or call.trunk_out
        if call.ending != "confirmed":
            told["ending"] = call.ending
        if call.partial:
            told["partial"] = 1
        if call.post_dial_ms is not None:
            told["pdd_ms"] = call.post_dial_ms
        for name, value in (("status", call.status), ("cause", call.cause), ("attestation", call.attestation)):
            if value:
                told[name] = value
        if call.media:
            told.update(media.quality(call))
        return told

    def is_withheld(self, call: Call) -> bool:
        """Whether the caller is an outsider who asked to stay unknown. (A seat that hides its number hides it from the one it
        calls; the site knows its own.)"""
        return call.private and not self._caller_seat(call)

    def shown(self, number: str) -> str:
        """A number as it may leave the site (`metering.numbers`)."""
        if self.metering.numbers == "full" or len(number) < SHORT_NUMBER:
            return number
        return number[:-MASKED_DIGITS] + "x" * MASKED_DIGITS if self.metering.numbers == "masked" else ""

    def _features(self, call: Call, subject: str, day: str) -> Iterator[Measure]:
        counts: dict[Slot, int] = {}
        for use in call.features:
            seat = use.endpoint if self._is_seat(use.endpoint) else subject
            slot = Slot("feature.use", seat, day, detail=use.code)
            counts[slot] = counts.get(slot, 0) + use.count
        return (Measure(slot, count * UNIT, {}) for slot, count in counts.items())

    def _seats_of(self, call: Call, caller_seat: str, day: str) -> tuple[SeatUse, ...]:
        is_seat = self._is_seat
        used: dict[str, tuple[str, ...]] = {caller_seat: ()} if caller_seat else {}
        if call.answered_by and is_seat(call.answered_by.endpoint):
            used[call.answered_by.endpoint] = ()
        for endpoint in call.offered:
            if is_seat(endpoint):
                used[endpoint] = ()
        for use in call.features:
            if is_seat(use.endpoint):
                used[use.endpoint] = (*used.get(use.endpoint, ()), use.code)
        return tuple([SeatUse(seat, day, True, features) for seat, features in used.items()])

    # --- what belongs to no call

    def registration(self, registration: Registration) -> Charge:
        seats: tuple[SeatUse, ...] = ()
        if registration.state == "registered" and self._is_seat(registration.endpoint):
            seats = (SeatUse(registration.endpoint, local_day(registration.at_ms, self.site.timezone), False),)
        return Charge(registration.key, registration.at_ms, (), seats)

    def device_use(self, registration: Registration) -> FeatureUse | None:
        """The feature that a seat uses by being registered at a device of this class."""
        code = registration.device
        if code not in DAILY or registration.state != "registered" or not self._is_seat(registration.endpoint):
            return None
        return FeatureUse(code=code, endpoint=registration.endpoint, at_ms=registration.at_ms)

    def dated(self, use: FeatureUse) -> FeatureUse:
        """A use that counts once a day belongs to the day: whichever record of the day shows it, it is the same use."""
        if use.code not in DAILY:
            return use
        day = local_day(use.at_ms, self.site.timezone)
        start_ms, _ = day_bounds(day, self.site.timezone)
        return replace(use, key=f"{day} {use.code} {use.endpoint}", at_ms=start_ms, count=1)

    def feature(self, use: FeatureUse) -> Charge:
        day, subject = local_day(use.at_ms, self.site.timezone), use.endpoint or "site"
        measures = [Measure(Slot("feature.use", subject, day, detail=use.code), use.count * UNIT, {})]
        if use.code == "message":
            told: dict[str, str | int] = {"segments": use.segments} if use.segments else {}
            measures.append(Measure(Slot("message", subject, day), use.count * UNIT, told))
        seats: tuple[SeatUse, ...] = ()
        if self._is_seat(use.endpoint):
            seats = (SeatUse(use.endpoint, day, use.code not in DAILY, (use.code,)),)
        return Charge(use.key, use.at_ms, tuple(measures), seats)

    def risk(self, risk: Risk) -> Charge:
        """One occurrence, whatever it tells of: what it costs is nothing. Numbers that a scanner dialled stay at the site."""
        day, subject = (
            local_day(risk.at_ms, self.site.timezone),
            risk.endpoint if self._is_seat(risk.endpoint) else "site",
        )
        told: dict[str, str | int] = {
            "billable": "no",
            "origin": risk.origin,
            "times": risk.count,
            "until": instant(risk.until_ms),
        }
        if account := self._shown(risk.endpoint):
            told["account"] = account
        return Charge(risk.key, risk.at_ms, (Measure(Slot(risk.code, subject, day), UNIT, told),), ())

    # --- seats

    def seat_counts(self, registered: bool, active: bool) -> bool:
        """Whether a seat that was registered or active that day makes a billable seat-day."""
        when = self.metering.seat_when
        return (registered and "registered" in when) or (active and "active" in when)

    def level(self, features: Iterable[str]) -> str:
        """The lowest level that holds all of `features` that any level holds; empty where no levels are configured."""
        if not self._levels:
            return ""
        needed = self._levels[-1][1].intersection(features)
        return next(name for name, held in self._levels if needed <= held)


def _cumulative(metering: Metering) -> list[tuple[str, frozenset[str]]]:
    """Each level holds what the lower ones hold: that is what makes them levels."""
    held: frozenset[str] = frozenset()
    levels = []
    for level in metering.levels:
        held |= frozenset(level.features)
        levels.append((level.name, held))
    return levels
