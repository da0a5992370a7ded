"""Where media is awaited: offers and answers in, and which dialog's media a place is. Pure.

Laws
- Two dialogs of one call that tell the same place are two hops of one stream: it counts for the dialog that began first.
  A place that another call tells is that call's from then on.
- After a dialog's end nothing is awaited for it. Everything that grows has a limit and a counter.
"""

from collections.abc import Iterable
from functools import lru_cache

from collectors.sip.limits import Limits
from collectors.sip.media import negotiation as offers
from collectors.sip.media.description import Line, Place, read
from collectors.sip.media.negotiation import End, Negotiation
from collectors.sip.media.rtp import Stream
from collectors.sip.media.session import Session, announced

PLACES_MAX = 64
"""Places awaited for one dialog: two ends with audio and video, their RTCP, and a few ICE candidates each."""

RTCP_ONLY = 2
"""Bit of `Session.places`."""


class Awaited:
    """`counters` is the tracker's. `sessions` are the dialogs with media, by their serial numbers."""

    def __init__(self, limits: Limits, counters: dict[str, int]) -> None:
        self.limits = limits
        self.counters = counters
        self.sessions: dict[int, Session] = {}
        self._awaited: dict[Place, Session] = {}
        self._flows: dict[bytes, Stream] = {}

    # --- what signalling says

    def told(self, serial: int, call: int, which: int, key: bytes, body: bytes) -> None:
        """End `which` of a dialog says in `body` what it receives, in or under the request `key`."""
        lines = read(body)
        if not lines:
            return
        session = self.sessions.get(serial)
        if session is None:
            session = self.sessions[serial] = Session(serial, call, Negotiation(End(), End()))
        if offers.told(session.negotiation, which, key, lines) or session.closed:
            session.closed = False
            self._await(session, which, lines)

    def settled(self, serial: int, key: bytes) -> None:
        if (session := self.sessions.get(serial)) is not None:
            offers.settled(session.negotiation, key)

    def refused(self, serial: int, key: bytes) -> None:
        if (session := self.sessions.get(serial)) is not None:
            offers.refused(session.negotiation, key)

    def close(self, serial: int) -> None:
        """The dialog has ended."""
        session = self.sessions.get(serial)
        if session is None or session.closed:
            return
        session.closed = True
        for known in session.places:
            del self._awaited[known]
        session.places.clear()
        for stream in session.streams:
            if self._flows.get(stream.flow) is stream:
                del self._flows[stream.flow]

    def _await(self, session: Session, which: int, lines: Iterable[Line]) -> None:
        for line in lines:
            if not line.live:
                continue
            for known in line.places:
                self._claim(session, known, which)
            for known in line.rtcp:
                self._claim(session, known, which | RTCP_ONLY)

    def _claim(self, session: Session, known: Place, use: int) -> None:
        holder = self._awaited.get(known)
        if holder is session:
            session.places[known] &= use | ~RTCP_ONLY
            return
        if holder is not None:
            if use & RTCP_ONLY and not holder.places[known] & RTCP_ONLY:
                return  # RTP where this one's RTCP would be: who told it means it, the port above is a guess
            if holder.call == session.call and holder.serial < session.serial:
                return
            self._yield(holder, session, known)
        elif len(session.places) >= PLACES_MAX or len(self._awaited) >= self.limits.media_places:
            self.counters["media_places_over_limit"] += 1
            return
        self._awaited[known] = session
        session.places[known] = use

    def _yield(self, holder: Session, session: Session, known: Place) -> None:
        """The place goes to another dialog, within the call with what was heard there already."""
        del holder.places[known]
        moved = [stream for stream in holder.streams if known in ends(stream.flow)]
        if holder.call == session.call:
            for stream in moved:
                stream.serial = session.serial
            holder.streams = [stream for stream in holder.streams if stream.serial == holder.serial]
            session.streams.extend(moved)
            return
        for stream in moved:
            self._flows.pop(stream.flow, None)

    # --- what is known of a dialog

    def knows(self, serial: int) -> bool:
        return serial in self.sessions

    def ends(self, serial: int, of_caller: bool) -> tuple[str, str]:
        """Where one end of a dialog receives media, and where the other does, as announced."""
        _, _, caller, callee = announced(self.sessions[serial], True)
        return (caller, callee) if of_caller else (callee, caller)

    def last_us(self, serials: Iterable[int]) -> int:
        """The last sign of life of the media of these dialogs; 0 where there was none."""
        return max((session.last_us() for serial in serials if (session := self.sessions.get(serial))), default=0)

    def patience_us(self, serials: Iterable[int]) -> int:
        """How long a call of these dialogs may be without media; 0 where its silence tells nothing: none was seen, some was
        not followed, or somebody holds (RFC 3264 section 8.4). An RTCP BYE tells that a stream is meant to be over."""
        sessions = [session for serial in serials if (session := self.sessions.get(serial)) is not None]
        if not any(session.streams for session in sessions):
            return 0
        if any(session.evicted or offers.on_hold(session.negotiation) for session in sessions if not session.closed):
            return 0
        left = any(session.bye_us > stream.last_us for session in sessions for stream in session.streams)
        return (self.limits.transaction_ms if left else self.limits.media_silence_ms) * 1000


@lru_cache(8192)
def ends(flow: bytes) -> tuple[Place, Place]:
    """Where a flow comes from and where it goes to."""
    size = (len(flow) - 4) // 2
    return flow[:size] + flow[-4:-2], flow[size : 2 * size] + flow[-2:]
