"""Answers to INVITEs and to requests within calls, and what each does to its dialog.

Laws
- A dialog is answered by the first 2xx to its INVITE; what comes again, or from a branch that lost, changes nothing of that.
- An answer counts for the request that it names by CSeq, in the dialog that goes the other way.
"""

from collectors.records import FeatureUse
from collectors.sip import dialog as machine
from collectors.sip import offers, quality
from collectors.sip.address import listed, tag, uri_of, user
from collectors.sip.brief import Brief, to_tag
from collectors.sip.cause import may_tell
from collectors.sip.features import REFUSALS, of_progress, says_do_not_disturb
from collectors.sip.glance import Unusual, glance
from collectors.sip.hops import answered_hop, hop_of
from collectors.sip.legs import leg_key
from collectors.sip.lookup import Lookup
from collectors.sip.message import Message
from collectors.sip.packets import SipPacket
from collectors.sip.quick import read
from collectors.sip.state import ANSWERED, TRYING, Dialog, Refer

GONE = frozenset((408, 481))
"""Answers to a request within a dialog by which the other end knows it no more, or is not there (RFC 3261 section 12.2.1.2)."""

PROGRESS = frozenset((181, 182))

RINGS = frozenset((180, 183))
"""Provisional answers by which the caller hears something: it rings, or early media (RFC 6076 section 4.3). 181, 182 and 199
tell the caller nothing of the called phone."""


class Answers(Lookup):
    """Provisional and final answers."""

    def answer(
        self, thread: list[Dialog], packet: SipPacket, data: bytes, short: Brief, message: Message | None
    ) -> None:
        """An answer to an INVITE."""
        _, status, _, cseq = short
        dialog = thread[0] if len(thread) == 1 else answered_hop(thread, packet, cseq)
        dialog.last_us = packet.at_us
        if self.desk is not None:
            offers.answer(self.desk, dialog, packet.src == dialog.src, status, cseq, data)
        if (dialog.asked and self._asked(dialog, packet, data, short, message)) or dialog.cseq != cseq:
            return
        if status < 200:
            self._ring(dialog, packet.at_us, data, short, message)
        elif status < 300:
            self._answered(dialog, packet.at_us, data, short, message)
        elif dialog.phase == TRYING:
            message = message or read(data, short, self.counters)
            machine.fail(dialog, packet.at_us, message)
            if status in REFUSALS:
                self._refused(dialog, packet.at_us, data)
            self._ended(dialog, packet.at_us)
            if status < 400:
                self._redirected(dialog, message, packet.at_us)

    def _ring(self, dialog: Dialog, at_us: int, data: bytes, short: Brief, message: Message | None) -> None:
        if dialog.phase != TRYING:
            return
        if short[1] == 199:
            machine.drop_fork(dialog, tag((message or read(data, short, self.counters)).get(b"To")), at_us)
            return
        early = to_tag(data) if message is None else tag(message.get(b"To"))
        if early is None:
            message = read(data, short, self.counters)
            early = tag(message.get(b"To"))
        if short[1] in RINGS:
            dialog.ringing_us = dialog.ringing_us or at_us
            if short[1] == 180 and dialog.side == "callee" and self.correlator.talks(dialog):
                waits = FeatureUse(code="call_waiting", endpoint=dialog.callee, at_ms=at_us // 1000)
                machine.add_use(dialog, waits, once=True)
            if short[1] == 183 and may_tell(data):  # an announcement that says why, before the call is cleared
                machine.note_reason(dialog, message or read(data, short, self.counters))
        elif short[1] in PROGRESS:
            message = message or read(data, short, self.counters)
            for use in of_progress(message, dialog.caller, at_us // 1000):
                machine.add_use(dialog, use, once=True)
        if not dialog.to_tag:
            dialog.to_tag = early
        elif early and early != dialog.to_tag:
            machine.fork(
                dialog, early, at_us, self._contact((message or read(data, short, self.counters)).get(b"Contact"))
            )

    def _answered(self, dialog: Dialog, at_us: int, data: bytes, short: Brief, message: Message | None) -> None:
        if dialog.phase == TRYING:
            told = self._told(data, short, message)
            machine.answer(dialog, at_us, told, self._contact(told.contact))
            if dialog.side == "recording":
                dialog.features.clear()
                self._recorded(dialog, at_us)
            if dialog.expires_us:
                self._not_after(self.groups[dialog.call], machine.deadline(dialog, self.limits))
        elif dialog.phase == ANSWERED and dialog.status:
            last = to_tag(data) if message is None else tag(message.get(b"To"))
            if last and last != dialog.to_tag:
                machine.answer_fork(
                    dialog, last, at_us, self._contact((message or read(data, short, self.counters)).get(b"Contact"))
                )

    def _told(self, data: bytes, short: Brief, message: Message | None) -> machine.Told:
        """What a 2xx tells, by the shortest way that reads it for sure."""
        to = to_tag(data) if message is None else None
        if to is not None:
            try:
                found = glance(data)
                return machine.Told(to, found.get(b"Contact"), found.get(b"Session-Expires"), found.body())
            except Unusual:
                pass
        return machine.told(message or read(data, short, self.counters))

    def _recorded(self, dialog: Dialog, at_us: int) -> None:
        """The recorder has accepted: the call is recorded. Where it is not known, or over, the use stands alone."""
        group = self._alive(dialog.recorded)
        if group is not None:
            own = group.dialogs[0]
            machine.add_use(own, FeatureUse(code="recording", endpoint=own.caller, at_ms=at_us // 1000), once=True)
            return
        use = FeatureUse(code="recording", endpoint=dialog.callee, at_ms=at_us // 1000, key=leg_key(dialog))
        self.records.append(use)

    def _refused(self, dialog: Dialog, at_us: int, data: bytes) -> None:
        """A phone that is not to be disturbed says so, or refuses by itself though its seat is in no call."""
        by_itself = machine.refused_at_once(dialog, at_us) and not self.correlator.talks(dialog)
        if by_itself or says_do_not_disturb(data):
            use = FeatureUse(code="do_not_disturb", endpoint=dialog.callee, at_ms=at_us // 1000)
            machine.add_use(dialog, use, once=True)

    def _redirected(self, dialog: Dialog, message: Message, at_us: int) -> None:
        """Who was sent on may call the new target with a Call-ID of its own. (305 names a proxy: the number stays.)"""
        for value in listed(message.values(b"Contact")):
            target = user(uri_of(value)) or dialog.dialled
            self.correlator.asked(Refer(at_us, dialog.src, target, dialog.call, redirected=dialog.side))

    def answer_in_dialog(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        """An answer to any other request of a dialog."""
        thread = self.threads.get(short[2])
        dialog = hop_of(thread, packet) if thread else None
        if dialog is None:
            if thread is None and short[2] in self.midway.state.seen:
                self.answer_midway(packet, data, short, message)
            else:
                self.registrar.answer(packet, data, short, message)
            return
        dialog.last_us = packet.at_us
        if self.desk is not None:
            offers.answer(self.desk, dialog, packet.src == dialog.src, short[1], short[3], data)
            if short[3].endswith(b" BYE"):
                quality.of_bye(self.desk, dialog, packet.src == dialog.src, packet.at_us, data)
        if dialog.asked or short[1] in GONE:
            self._asked(dialog, packet, data, short, message)

    def answer_midway(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        """An answer in a dialog whose INVITE was not captured: a 2xx shows that there is a call."""
        _, status, call_id, cseq = short
        dialog = self.midway.proven(packet, status, call_id, cseq)
        if dialog is None:
            self.counters["orphans"] += 1
            return
        self.serial += 1
        dialog.serial = self.serial
        group = self._alive(self.correlator.by_session(dialog)) or self.midway.beside(dialog, self.groups)
        if group is None:
            group = self._new_group(packet.at_us)
            self.midway.state.calls.append(group.id)
            dialog.side = "caller"
        self._attach(group, dialog)
        if not dialog.call:
            return  # one leg too many
        if cseq.endswith(b" BYE"):
            machine.hang_up(dialog, packet.dst, packet.src, dialog.last_us)
            self._ended(dialog, dialog.last_us)
        else:
            dialog.last_us = packet.at_us
            by_caller = packet.dst == dialog.src
            if self.desk is not None:
                offers.answer(self.desk, dialog, not by_caller, status, cseq, data)
            machine.agreed(dialog, by_caller, b"", machine.told(message or read(data, short, self.counters)))
            self._not_after(group, machine.deadline(dialog, self.limits))

    def _asked(self, dialog: Dialog, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> bool:
        """Whether this answers a request within the dialog that was noted; what comes of it."""
        _, status, _, cseq = short
        by_caller = packet.src == dialog.dst
        code = machine.asked(dialog, by_caller, cseq)
        if 200 <= status < 300 and code is not None:
            if cseq.endswith((b" REFER", b" INFO")):
                machine.accepted(dialog, by_caller, cseq, code)
            else:
                machine.agreed(dialog, by_caller, code, machine.told(message or read(data, short, self.counters)))
        elif status in GONE and dialog.phase == ANSWERED and (code is not None or status == 481):
            if cseq.endswith(b" CANCEL"):
                return False
            machine.assume(dialog)
            self._ended(dialog, dialog.last_us)
        return code is not None
