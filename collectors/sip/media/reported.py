"""Reports of media, to the dialogs whose streams they tell of. Pure.

Laws
- A report belongs to the call that awaits its stream where it says that it goes; else where it says that it comes from; else
  to the dialog that it names. One that belongs to none is counted.
"""

from functools import lru_cache

from collectors.sip.media import heard as reports
from collectors.sip.media import rtcp
from collectors.sip.media.awaited import Awaited
from collectors.sip.media.description import Place, place
from collectors.sip.media.negotiation import CALLEE, CALLER
from collectors.sip.media.report import Report
from collectors.sip.media.session import Session, announced

HEARD_MAX = 16
"""Streams of one dialog that reports tell of."""


class Reported(Awaited):
    def _rtcp(self, session: Session, to: int, at_us: int, data: bytes) -> None:
        self.counters["rtcp"] += 1
        session.rtcp_us = at_us
        if _is_secure(session):
            self.counters["rtcp_encrypted"] += 1
            return
        found = rtcp.read(at_us, data)
        if found is None:
            return
        if found.bye:
            session.bye_us = at_us
        for report in found.sent:
            self._told(session, to == CALLEE, report)
        for report in found.received:
            self._told(session, to != CALLEE, report)

    def report(self, report: Report, serial: int | None = None, from_caller: bool | None = None) -> bool:
        """A report from elsewhere. `serial`: of the dialog, where it is known by other means; `from_caller`: whether it
        tells of what the caller sends. Whether it belongs to a call that is followed."""
        session, from_caller = self._of_report(report, serial, from_caller)
        if session is None or from_caller is None:
            self.counters["reports_unmatched"] += 1
            return False
        self.counters["reports"] += 1
        session.rtcp_us = max(session.rtcp_us, 0 if session.closed else report.at_us)
        self._told(session, from_caller, report)
        return True

    def _of_report(
        self, report: Report, serial: int | None, from_caller: bool | None
    ) -> tuple[Session | None, bool | None]:
        source, target = _place_of(report.src), _place_of(report.dst)
        if (session := self._awaited.get(target)) is not None:
            return session, session.places[target] & 1 == CALLEE
        if (session := self._awaited.get(source)) is not None:
            return session, session.places[source] & 1 == CALLER
        session = self.sessions.get(serial) if serial is not None else None
        if session is not None and from_caller is None:
            from_caller = _direction(session, report)
        return session, from_caller

    def _told(self, session: Session, from_caller: bool, report: Report) -> None:
        ssrc = reports.SSRC_UNKNOWN if report.ssrc is None else report.ssrc
        known = next((one for one in session.heard if one.from_caller == from_caller and one.ssrc == ssrc), None)
        if known is None:
            if len(session.heard) >= HEARD_MAX:
                self.counters["reports_over_limit"] += 1
                return
            known = reports.begin(report, from_caller)
            session.heard.append(known)
        codec = announced(session, from_caller)[0]
        reports.take(known, report, codec.clock_hz if codec else 8000)


@lru_cache(2048)
def _place_of(address: str) -> Place:
    """`192.0.2.1:4000` or `[2001:db8::1]:4000`, packed; empty where it is neither."""
    host, _, port = address.rpartition(":")
    return place(host.strip("[]").encode("utf-8", "replace"), int(port)) if port.isdecimal() and len(port) < 6 else b""


def _is_secure(session: Session) -> bool:
    negotiation = session.negotiation
    return any(line.secure for end in (negotiation.caller, negotiation.callee) for line in end.now())


def _direction(session: Session, report: Report) -> bool | None:
    """Who sends the stream that a report tells of, where the places themselves are not awaited: by SSRC, else by host."""
    if report.ssrc is not None:
        senders = {one.ssrc: one.from_caller for one in session.streams}
        senders |= {one.ssrc: one.from_caller for one in session.heard}
        if report.ssrc in senders:
            return senders[report.ssrc]
    for from_caller in (True, False):
        _, _, src, dst = announced(session, from_caller)
        for told, known in ((report.src, src), (report.dst, dst)):
            if told and told.rpartition(":")[0] == known.rpartition(":")[0]:
                return from_caller
    return None
