"""Offer and answer (RFC 3264) of one dialog: what each end receives, now and while an offer is open. Pure.

Laws
- An offer counts from when it is made: its sender must be ready to receive (section 5.1). A refused one is as if it had never
  been made (section 8); an answer agrees both.
- Offers and answers are told apart by their CSeq alone, whichever request or answer carries them: INVITE and its answers,
  an ACK or PRACK that answers an offer, UPDATE (RFC 3261 section 13.2.1, RFC 3262 section 5, RFC 3311).
- Several early answers (forks) all count until one of them is final.
"""

from collections.abc import Iterator

from msgspec import Struct

from collectors.sip.media.codecs import EVENTS, NOISE, Codec, unknown
from collectors.sip.media.description import LINES_MAX, Line, Place

CALLER, CALLEE = 0, 1
EARLY_MAX = 4
"""Early answers of forks that are kept beside the newest."""


class End(Struct, array_like=True):
    """What one end said that it receives: as agreed, as last proposed under the request `key`, and before by other forks."""

    agreed: list[Line] = []
    proposed: list[Line] = []
    early: list[Line] = []
    key: bytes = b""

    def lines(self) -> Iterator[Line]:
        yield from self.proposed
        yield from self.early
        yield from self.agreed

    def now(self) -> list[Line]:
        return self.agreed or self.proposed


class Negotiation(Struct, array_like=True):
    caller: End
    callee: End

    def end(self, which: int) -> End:
        return self.callee if which else self.caller


def told(negotiation: Negotiation, which: int, key: bytes, lines: list[Line]) -> bool:
    """End `which` says what it receives, under the request `key`. Whether that is new."""
    end = negotiation.end(which)
    if end.key == key and end.proposed == lines:
        return False
    if end.key == key:
        end.early = [*end.proposed, *end.early][: EARLY_MAX * LINES_MAX]
    else:
        end.early = []
    end.proposed, end.key = lines, key
    return True


def settled(negotiation: Negotiation, key: bytes) -> None:
    """The final answer to the request `key` agrees what was said under it."""
    for end in (negotiation.caller, negotiation.callee):
        if end.key == key and end.proposed:
            end.agreed, end.proposed, end.early = end.proposed, [], []


def refused(negotiation: Negotiation, key: bytes) -> None:
    for end in (negotiation.caller, negotiation.callee):
        if end.key == key:
            end.proposed, end.early = [], []


def on_hold(negotiation: Negotiation) -> bool:
    """Whether some end has said that less than both ways is to flow: silence then tells nothing."""
    return any(
        line.direction != "sendrecv" or line.black_hole
        for end in (negotiation.caller, negotiation.callee)
        for line in end.now()
        if line.live and line.kind == "audio"
    )


def line_at(end: End, place: Place) -> Line | None:
    return next((line for line in end.lines() if place in line.places), None)


def form(negotiation: Negotiation, to: int, place: Place, payload_type: int) -> tuple[str, Codec]:
    """Kind and codec of what flows to end `to`, received at `place`: the receiver's own numbers count (section 5.1), first
    those of the stream at that place, then those of others that share it (RFC 9143), then the sender's."""
    here = line_at(negotiation.end(to), place)
    others = (*negotiation.end(to).lines(), *negotiation.end(1 - to).lines())
    for line in (here, *others) if here is not None else others:
        codec = line.forms.codecs.get(payload_type)
        if codec is not None:
            return line.kind, codec
    kind = here.kind if here is not None else next((line.kind for line in others), "audio")
    return kind, unknown(payload_type, kind)


def companions(negotiation: Negotiation, to: int, codec: Codec) -> tuple[int, int]:
    """The payload types of key presses and of comfort noise that go with a codec of this clock; -1 where none was told."""
    events, noise = -1, 13  # RFC 3389: 13 is comfort noise for a clock of 8000, whether said or not
    for line in (*negotiation.end(1 - to).lines(), *negotiation.end(to).lines()):
        for number, known in line.forms.codecs.items():
            if known.clock_hz == codec.clock_hz or events < 0:
                if known.name == EVENTS:
                    events = number
                elif known.name == NOISE:
                    noise = number
    return events, noise


def main_codec(line: Line) -> Codec | None:
    """The first codec of a stream that is neither key presses nor noise."""
    return next((codec for codec in line.forms.codecs.values() if codec.name not in (EVENTS, NOISE)), None)
