"""Which calls the office makes, and when: a plan from a seed, in the order in which the calls begin.

Laws
- Nobody is in two calls at once, and no call ends after the plan does.
- Each kind of call comes once before any comes again: a short demonstration shows them all.
- The main house's phone system keeps whole seconds, so its calls begin, are answered and end on the second. In the annex no
  two calls begin in the same millisecond and none on the second, and a talk is half a second off, so that a hop's few
  milliseconds never decide about a begun second.
"""

import random
from collections.abc import Callable, Iterator

import msgspec

from agent.demo.office import DESKS, DID, GROUP, MAILBOXES, OUTSIDE, QUEUE, PlayedCall, Way

CALL_EVERY_S = 6.0
"""On average, in both houses together: a hundred calls in ten minutes."""
CALLS_AT_LEAST = 60
"""What a shorter plan aims at; people hurry then."""
RING_S = (2, 9)
TALK_S = (4, 130)
SHARE = 3
"""No talk is longer than this part of the plan, so that a short plan holds calls too."""
PATIENCE_S = 10
"""How long a desk rings before the caller is sent on."""


WAYS: tuple[Way, Way] = ("cdr", "sip")


class NobodyFree(Exception):
    """The call cannot be made now."""


class Plan:
    """From `start_ms` on; without end where `until_ms` is None."""

    def __init__(self, seed: int, start_ms: int, until_ms: int | None) -> None:
        self._chance = random.Random(seed)
        self.run = f"{self._chance.getrandbits(32):08x}"
        self._start_ms = start_ms
        self._until_ms = until_ms
        self._talk_s, self._every_s = TALK_S[1], CALL_EVERY_S
        if until_ms is not None:
            plan_s = (until_ms - start_ms) / 1000
            self._talk_s = max(TALK_S[0], min(TALK_S[1], int(plan_s / SHARE)))
            self._every_s = min(CALL_EVERY_S, plan_s / CALLS_AT_LEAST)
        self._busy_until_ms: dict[str, int] = {}
        self._decks: dict[Way, list[str]] = {"cdr": [], "sip": []}
        self._made = 0

    def calls(self) -> Iterator[PlayedCall]:
        at_ms = self._start_ms
        while self._until_ms is None or at_ms < self._until_ms:
            at_ms += max(1, round(self._chance.expovariate(1 / self._every_s) * 1000))
            at_ms += at_ms % 1000 == 0
            way: Way = self._chance.choice(WAYS)
            if (call := self._next(way, at_ms)) is not None:
                yield call

    def _next(self, way: Way, at_ms: int) -> PlayedCall | None:
        """The first kind of what is left in the deck that can be made now."""
        deck = self._decks[way]
        if not deck:
            deck += self._chance.sample(sorted(KINDS[way]), len(KINDS[way]))
        start_ms = -(-at_ms // 1000) * 1000 if way == "cdr" else at_ms
        for kind in deck:
            try:
                call = self._make(way, kind, start_ms)
            except NobodyFree:
                continue
            deck.remove(kind)
            return call
        return None

    def _make(self, way: Way, kind: str, start_ms: int) -> PlayedCall:
        self._made += 1
        key = f"{start_ms // 1000}.{self._made}" if way == "cdr" else f"{self.run}-{self._made:06x}@annex"
        call = KINDS[way][kind](_Draft(self, way, start_ms), kind, key)
        if self._until_ms is not None and call.ended_at_ms > self._until_ms:
            raise NobodyFree
        for one in {call.caller, call.answered_by, call.moved_to, *call.rings}:
            self._busy_until_ms[one] = call.ended_at_ms + 1000
        return call

    def desks(self, way: Way, at_ms: int, count: int) -> list[str]:
        free = [desk for desk in DESKS[way] if self._busy_until_ms.get(desk, 0) <= at_ms]
        if len(free) < count:
            raise NobodyFree
        return self._chance.sample(free, count)

    def outside(self, call_class: str, at_ms: int) -> str:
        number = f"{OUTSIDE[call_class][0]}{self._chance.randrange(1, 100):02d}"
        if self._busy_until_ms.get(number, 0) > at_ms:
            raise NobodyFree
        return number

    def seconds(self, least: int, most: int) -> int:
        return self._chance.randint(least, most) * 1000

    def talk_ms(self, way: Way) -> int:
        return self.seconds(TALK_S[0], self._talk_s) + (500 if way == "sip" else 0)


class _Draft:
    """What the recipes below draw a call from."""

    def __init__(self, plan: Plan, way: Way, start_ms: int) -> None:
        self.way = way
        self.start_ms = start_ms
        self._plan = plan
        self.ring_ms = plan.seconds(*RING_S)
        self.talk_ms = plan.talk_ms(way)

    def desks(self, count: int) -> list[str]:
        return self._plan.desks(self.way, self.start_ms, count)

    def outside(self, call_class: str) -> str:
        return self._plan.outside(call_class, self.start_ms)

    def call(self, kind: str, key: str, **told: object) -> PlayedCall:
        """Answered after ringing, unless `told` says otherwise."""
        answered_ms = self.start_ms + self.ring_ms
        fields = {
            "way": self.way,
            "key": key,
            "kind": kind,
            "started_at_ms": self.start_ms,
            "answered_at_ms": answered_ms,
            "ended_at_ms": answered_ms + self.talk_ms,
            "outcome": "answered",
            "call_class": "internal",
        }
        return msgspec.convert({**fields, **told}, PlayedCall)

    def unanswered(self, kind: str, key: str, **told: object) -> PlayedCall:
        caller, callee = self.desks(2)
        fields = {"answered_at_ms": None, "ended_at_ms": self.start_ms + self.ring_ms, "rings": (callee,)}
        return self.call(kind, key, caller=caller, dialled=callee, **{**fields, **told})


Recipe = Callable[[_Draft, str, str], PlayedCall]


def _answered(draft: _Draft, kind: str, key: str) -> PlayedCall:
    caller, callee = draft.desks(2)
    return draft.call(kind, key, caller=caller, dialled=callee, rings=(callee,), answered_by=callee)


def _no_answer(draft: _Draft, kind: str, key: str) -> PlayedCall:
    return draft.unanswered(kind, key, outcome="no_answer")


def _cancelled(draft: _Draft, kind: str, key: str) -> PlayedCall:
    return draft.unanswered(kind, key, outcome="cancelled")


def _busy(draft: _Draft, kind: str, key: str) -> PlayedCall:
    return draft.unanswered(kind, key, outcome="busy", ended_at_ms=draft.start_ms + 1000)


def _ring_group(draft: _Draft, kind: str, key: str) -> PlayedCall:
    caller, *members = draft.desks(4)
    return draft.call(kind, key, caller=caller, dialled=GROUP, rings=tuple(members), answered_by=members[1])


def _voicemail(draft: _Draft, kind: str, key: str) -> PlayedCall:
    caller, callee = draft.desks(2)
    beep_ms = draft.start_ms + PATIENCE_S * 1000
    times = {"turned_at_ms": beep_ms, "answered_at_ms": beep_ms, "ended_at_ms": beep_ms + draft.talk_ms}
    return draft.call(kind, key, caller=caller, dialled=callee, rings=(callee,), **times)


def _menu(draft: _Draft, kind: str, key: str) -> PlayedCall:
    """The menu answers at once; a key leads on to a desk."""
    (callee,) = draft.desks(1)
    told = {"answered_at_ms": draft.start_ms, "dialled": callee, "rings": (callee,), "answered_by": callee}
    return draft.call(kind, key, caller=draft.outside("national"), call_class="inbound", **told)


def _queue(draft: _Draft, kind: str, key: str) -> PlayedCall:
    """The queue answers at once; the first agent lets it ring, the next one takes it."""
    agents = draft.desks(2)
    turn_ms = draft.start_ms + PATIENCE_S * 1000
    times = {"answered_at_ms": draft.start_ms, "turned_at_ms": turn_ms, "ended_at_ms": turn_ms + draft.talk_ms}
    told = {**times, "dialled": QUEUE, "rings": tuple(agents), "answered_by": agents[1]}
    return draft.call(kind, key, caller=draft.outside("mobile"), call_class="inbound", **told)


def _transfer(draft: _Draft, kind: str, key: str) -> PlayedCall:
    """The one who answers sends the caller on."""
    caller, callee, other = draft.desks(3)
    moved_ms = draft.start_ms + draft.ring_ms + 3000
    told = {"turned_at_ms": moved_ms, "ended_at_ms": moved_ms + draft.talk_ms, "moved_to": other}
    return draft.call(kind, key, caller=caller, dialled=callee, rings=(callee,), answered_by=callee, **told)


def _mailbox(draft: _Draft, kind: str, key: str) -> PlayedCall:
    """Somebody listens to the own mailbox: the phone system itself answers."""
    (caller,) = draft.desks(1)
    return draft.call(kind, key, caller=caller, dialled=MAILBOXES, call_class="service")


def _inbound(draft: _Draft, kind: str, key: str) -> PlayedCall:
    (callee,) = draft.desks(1)
    dialled = callee if draft.way == "cdr" else DID
    told = {"dialled": dialled, "rings": (callee,), "answered_by": callee}
    return draft.call(kind, key, caller=draft.outside("local"), call_class="inbound", **told)


def _outward(call_class: str) -> Recipe:
    def recipe(draft: _Draft, kind: str, key: str) -> PlayedCall:
        (caller,) = draft.desks(1)
        number, country = draft.outside(call_class), OUTSIDE[call_class][1]
        told = {"dialled": number, "answered_by": number, "call_class": call_class, "country": country}
        return draft.call(kind, key, caller=caller, **told)

    return recipe


_OUTWARD: dict[str, Recipe] = {f"out {name.replace('_', ' ')}": _outward(name) for name in OUTSIDE}
KINDS: dict[Way, dict[str, Recipe]] = {
    "cdr": {
        "answered": _answered,
        "no answer": _no_answer,
        "busy": _busy,
        "ring group": _ring_group,
        "voicemail": _voicemail,
        "menu": _menu,
        "queue": _queue,
        "transfer": _transfer,
        "inbound": _inbound,
        **_OUTWARD,
    },
    "sip": {
        "answered": _answered,
        "hold": _answered,
        "no answer": _no_answer,
        "busy": _busy,
        "cancelled": _cancelled,
        "ring group": _ring_group,
        "mailbox": _mailbox,
        "inbound": _inbound,
        **_OUTWARD,
    },
}
