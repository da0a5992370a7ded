"""Who was how long in a conference: one call per participant, of rows that are written per pair.

What Asterisk does (CDR specification, "Conference Call"; Asterisk 22 observed): when somebody joins those who are in the
bridge already, his own row ends, and for each of them a row begins that has the earlier one as party A (`channel`,
`uniqueid`) and the later one as party B (`dstchannel`). So the last participant's time is in the other participants'
rows only. Older versions also give all of them the oldest one's `linkedid`.

Laws
- Every participant who dialled in is a call of his own, under his own unique id, never under the linked id.
- A row is one leg of A's call; and it is handed in once more, `seen_from_b`, as a leg of B's, as soon as a row of B's own
  has told his unique id. Which of the two rows comes first does not matter.
- B's who never get a row of their own (phones that were paged or called into the bridge) are no calls.
"""

from collections.abc import Iterable
from typing import TypeVar

import msgspec
from msgspec import Struct

from collectors.asterisk_cdr.leg import AsteriskLeg

APPLICATIONS = frozenset({"ConfBridge", "MeetMe"})

REMEMBERED_MAX = 512
"""Participants, and rows that wait for their B, that are kept: a conference ends within hours, and few have more than some
dozens in it; a bridge of 30 has 435 pairs."""

PLACELESS = frozenset({"", "s"})
"""Extensions of channels that dialled nothing: they were called."""


class State(Struct):
    """`calls`: a participant's channel -> the key of his call. `waiting`: key of a row -> the row, whose B is not known
    yet."""

    calls: dict[str, str] = {}
    waiting: dict[str, AsteriskLeg] = {}


def call_key(channel: str, dst: str, uniqueid: str, linked: str) -> str:
    """The key of a participant's own call. Where a file has no unique ids his channel's name must do. Phones that were
    called into the bridge belong to the call that called them."""
    if dst in PLACELESS:
        return linked
    return uniqueid or f"{linked}/{channel}"


def related(state: State, legs: Iterable[AsteriskLeg]) -> list[AsteriskLeg]:
    """The legs that participants' rows mean for others, given those seen before; `state` is brought up to date."""
    found: list[AsteriskLeg] = []
    for leg in legs:
        _remember(state.calls, leg.channel, leg.call_key)
        for waiting in [row for row in state.waiting.values() if row.dstchannel == leg.channel]:
            found.append(_seen_from_b(waiting, leg.call_key))
            del state.waiting[waiting.key]
        call = state.calls.get(leg.dstchannel)
        if call is not None:
            found.append(_seen_from_b(leg, call))
        elif leg.dstchannel:
            _remember(state.waiting, leg.key, leg)
    return found


def _seen_from_b(leg: AsteriskLeg, call: str) -> AsteriskLeg:
    return msgspec.structs.replace(leg, key=f"{leg.key}/b", call_key=call, raw="", seen_from_b=True)


Kept = TypeVar("Kept")


def _remember(kept: dict[str, Kept], key: str, value: Kept) -> None:
    kept[key] = value
    if len(kept) > REMEMBERED_MAX:
        del kept[next(iter(kept))]
