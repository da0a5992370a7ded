"""The legs of one call -> the call. Pure, and the order of the legs does not matter.

Laws
- The caller's own leg (and what continued it after a redirection) tells when the call was answered and how long it was
  connected, whatever happened behind the phone system: ring group, queue, transfer. Other legs add who took part.
- Where the caller's leg has no heard end, the last end of any other leg is the last sign of life of the call.
- A leg never has a negative span: a clock that was set back during a call gives a call of no length, not an odd number.
"""

from collections.abc import Iterator, Sequence
from operator import attrgetter

from msgspec.structs import replace

from collectors.records import Call, FeatureUse, MediaFlow, Party
from collectors.sip.address import same_number
from collectors.sip.cause import ELSEWHERE
from collectors.sip.leg import SipLeg
from collectors.sip.packets import host

SAME_USE_MS = 2_000
"""A hold or transfer that the phone system passes on shows on the other leg within this time: it is one use."""

_order = attrgetter("started_at_ms", "index", "key")


def join(legs: Sequence[SipLeg]) -> Call:
    """The call that all legs known under one key make. At least one leg."""
    if len(legs) == 1:
        return _of_one(legs[0])
    rows = sorted(legs, key=_order)
    own = [leg for leg in rows if leg.side == "caller" and not leg.forked] or rows[:1]
    main = next((leg for leg in own if leg.answered_at_ms is not None), own[-1])
    others = [leg for leg in rows if all(leg is not known for known in own)]
    answerer = _answered_by(main, others)
    return Call(
        key=rows[0].call_key,
        started_at_ms=own[0].started_at_ms,
        answered_at_ms=main.answered_at_ms,
        ended_at_ms=max(max(leg.ended_at_ms for leg in rows), main.answered_at_ms or 0, own[0].started_at_ms),
        talk_ms=_talk_ms(main, own, others),
        outcome=main.outcome,
        caller=Party(own[0].caller, own[0].trunk_in or own[0].caller),
        dialled=own[0].dialled,
        answered_by=answerer,
        offered=_offered(main, others),
        trunk_in=own[0].trunk_in,
        trunk_out=next((leg.trunk_out for leg in (*others, main) if leg.trunk_out), ""),
        features=tuple(_features(rows, own[0], main, others, answerer)),
        ending=next((leg.ending for leg in reversed(own) if leg.answered_at_ms is not None), main.ending),
        legs=len(rows),
        complete=True,
        post_dial_ms=_post_dial_ms(own[0].started_at_ms, main),
        status=main.status,
        cause=main.cause or _cause_behind(others),
        attestation=own[0].attestation,
        private=any(leg.private for leg in own),
        partial=own[0].partial,
        media=_media(own, others),
    )


def _of_one(leg: SipLeg) -> Call:
    """What `join` gives for one leg, without the lists: where no phone system stands between, every call is one."""
    answered_at_ms = leg.answered_at_ms
    endpoint = leg.trunk_out or leg.callee
    rang = answered_at_ms is not None or leg.ringing_at_ms is not None
    return Call(
        key=leg.call_key,
        started_at_ms=leg.started_at_ms,
        answered_at_ms=answered_at_ms,
        ended_at_ms=max(leg.ended_at_ms, answered_at_ms or 0, leg.started_at_ms),
        talk_ms=0 if answered_at_ms is None else max(0, leg.ended_at_ms - answered_at_ms),
        outcome=leg.outcome,
        caller=Party(leg.caller, leg.trunk_in or leg.caller),
        dialled=leg.dialled,
        answered_by=None if answered_at_ms is None else Party(leg.dialled, endpoint),
        offered=(endpoint,) if rang else (),
        trunk_in=leg.trunk_in,
        trunk_out=leg.trunk_out,
        features=tuple(_features((leg,), leg, leg, (), None)) if leg.features else (),
        ending=leg.ending,
        complete=True,
        post_dial_ms=_post_dial_ms(leg.started_at_ms, leg),
        status=leg.status,
        cause=leg.cause,
        attestation=leg.attestation,
        private=leg.private,
        partial=leg.partial,
        media=leg.media,
    )


def _post_dial_ms(started_at_ms: int, main: SipLeg) -> int | None:
    heard = main.ringing_at_ms if main.ringing_at_ms is not None else main.answered_at_ms
    return None if heard is None or main.partial else max(0, heard - started_at_ms)


def _cause_behind(others: Sequence[SipLeg]) -> int:
    """Where the caller's own leg was given no cause: that of the leg behind the phone system that ended last."""
    told = [leg for leg in others if leg.cause and leg.cause != ELSEWHERE]
    return max(told, key=lambda leg: (leg.ended_at_ms, leg.index)).cause if told else 0


def _media(own: Sequence[SipLeg], others: Sequence[SipLeg]) -> tuple[MediaFlow, ...]:
    """A phone system passes on what the caller's own leg carries: that is the same media once more, and counts only where the
    caller's leg was not heard."""
    found = tuple(flow for leg in own for flow in leg.media)
    if found or not (leg := next((leg for leg in others if leg.media), None)):
        return found
    if leg.side != "pickup":
        return leg.media
    return tuple(replace(flow, from_caller=not flow.from_caller) for flow in leg.media)


def _talk_ms(main: SipLeg, own: Sequence[SipLeg], others: Sequence[SipLeg]) -> int:
    """How long the caller was connected: over all the caller's own legs (a phone that is transferred makes another), time that
    two of them share counted once."""
    if main.answered_at_ms is None:
        return 0
    ended_at_ms = main.ended_at_ms
    if main.ending == "assumed":
        ended_at_ms = max([ended_at_ms, *(leg.ended_at_ms for leg in others)])
    talk_ms, until_ms = max(0, ended_at_ms - main.answered_at_ms), max(ended_at_ms, main.answered_at_ms)
    for leg in own:
        if leg is not main and leg.answered_at_ms is not None and leg.ended_at_ms > until_ms:
            talk_ms += leg.ended_at_ms - max(leg.answered_at_ms, until_ms)
            until_ms = leg.ended_at_ms
    return talk_ms


def _party(leg: SipLeg) -> Party:
    """Whom a leg was to reach; for a pickup, who made it."""
    if leg.side == "pickup":
        return Party(leg.caller, leg.trunk_in or leg.caller)
    return Party(leg.callee if leg.forked else leg.dialled or leg.callee, leg.trunk_out or leg.callee)


def _answered_by(main: SipLeg, others: Sequence[SipLeg]) -> Party | None:
    """The leg that was answered first behind the phone system; where there is none, what was dialled answered itself. A
    leg that was further switched (a proxy in between, the phone system of another office) does not count where one
    behind it does."""
    answered = [leg for leg in others if leg.answered_at_ms is not None]
    picked = [leg for leg in answered if leg.side == "pickup"]
    if picked or answered:
        last_hops = [leg for leg in answered if not _goes_on(leg, answered)]
        return _party(min(picked or last_hops or answered, key=lambda leg: (leg.answered_at_ms, leg.index)))
    if main.answered_at_ms is None or any(not leg.forked for leg in others):
        return None
    if others and main.contact:
        return Party(main.contact, main.contact)
    return Party(main.dialled, main.trunk_out or main.callee)


def _goes_on(leg: SipLeg, others: Sequence[SipLeg]) -> bool:
    """Whether whoever this leg leads to has passed the call on: another leg comes from there, for the same caller or number.
    (A phone that was called and then calls somebody itself does so in its own name.)"""
    return any(
        other is not leg and _leads_to(leg, other) and (other.caller == leg.caller or other.dialled == leg.dialled)
        for other in others
    )


def _leads_to(leg: SipLeg, other: SipLeg) -> bool:
    """A datagram's port tells who sent it; a stream's does not, and where all share one host nothing can be told."""
    if other.transport == "udp":
        return leg.dst == other.src
    return host(leg.dst) == host(other.src) != host(leg.src)


def _offered(main: SipLeg, others: Sequence[SipLeg]) -> tuple[str, ...]:
    """Who was rung or took part, in order, each once."""
    if not others:
        rang = main.ringing_at_ms is not None or main.answered_at_ms is not None
        return (main.trunk_out or main.callee,) if rang else ()
    forked = [main.contact] if main.contact and any(leg.forked for leg in others) else []
    reached = [_party(leg).endpoint for leg in others if (leg.contact if leg.forked else not _goes_on(leg, others))]
    return tuple(dict.fromkeys(name for name in (*forked, *reached) if name))


def _features(
    rows: Sequence[SipLeg], first: SipLeg, main: SipLeg, others: Sequence[SipLeg], answerer: Party | None
) -> Iterator[FeatureUse]:
    """The uses of all legs, each code and endpoint once with its count, in the order of their time."""
    found = sorted((use for leg in rows for use in leg.features), key=lambda use: use.at_ms)
    if _pages(rows):
        found = [replace(use, code="paging") if use.code == "intercom" else use for use in found]
    if ring := _ring_group(first, main, others, answerer):
        found.append(ring)
    by_user: dict[tuple[str, str], list[int]] = {}
    for use in found:
        times = by_user.setdefault((use.code, use.endpoint), [])
        if not times or use.at_ms - times[-1] > SAME_USE_MS:
            times.append(use.at_ms)
    for (code, endpoint), times in sorted(by_user.items(), key=lambda item: (item[1][0], item[0])):
        yield FeatureUse(code=code, endpoint=endpoint, at_ms=times[0], count=len(times))


def _pages(rows: Sequence[SipLeg]) -> bool:
    """Whether several phones were told to answer by themselves: an announcement, where one is an intercom call."""
    told = {leg.callee for leg in rows if leg.side == "callee" and any(use.code == "intercom" for use in leg.features)}
    return len(told) > 1


def _ring_group(first: SipLeg, main: SipLeg, others: Sequence[SipLeg], answerer: Party | None) -> FeatureUse | None:
    """Two or more endpoints that rang at once for one INVITE: a group, where it was none of them that was dialled. It is
    used by who answered, since that seat has the feature; else by the caller."""
    for leg in others:
        together = {_rung(leg)} | {_rung(other) for other in others if _rang_together(leg, other)}
        if leg.forked and main.contact:
            together.add(main.contact)
        if len(together) < 2:
            continue
        if any(same_number(name, first.dialled) for name in together):
            return FeatureUse(code="simultaneous_ring", endpoint=first.dialled, at_ms=leg.started_at_ms)
        user = answerer.endpoint if answerer is not None else first.caller
        return FeatureUse(code="ring_group", endpoint=user, at_ms=leg.started_at_ms)
    return None


def _rung(leg: SipLeg) -> str:
    return leg.contact if leg.forked else leg.callee


def _rang_together(one: SipLeg, other: SipLeg) -> bool:
    """Made by the same sender, and both ringing at some time: the later one began before the earlier was decided."""
    if one is other or one.side != "callee" or other.side != "callee" or not _same_sender(one, other):
        return False
    begun = max(one.started_at_ms, other.started_at_ms)
    return all(
        begun <= (leg.answered_at_ms or leg.ended_at_ms) and begun - leg.started_at_ms < _ALERT_MS
        for leg in (one, other)
    )


def _same_sender(one: SipLeg, other: SipLeg) -> bool:
    if one.transport == "udp" and other.transport == "udp":
        return one.src == other.src
    return host(one.src) == host(other.src)


_ALERT_MS = 180_000
"""Nothing rings longer than timer C (RFC 3261 section 16.6)."""
