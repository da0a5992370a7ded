"""Calls in progress: what each message does to them.

Laws
- Key of a dialog: Call-ID, From tag, the INVITE's sequence number and the two addresses. A retransmission is nothing
  new, a retry after 401/407 is the same attempt, a Call-ID that comes again after a BYE is another call.
- A dialog is answered by the first 2xx to its INVITE, and ended by a BYE's request, a final failure, or silence.
- Only an INVITE without a To tag opens anything: no other method, and no answer that nobody asked for.
- Every message comes with what `brief` told of it, and whole where that way could not read it.
"""

from collectors.records import FeatureUse, Record
from collectors.sip import dialog as machine
from collectors.sip import offers, quality
from collectors.sip.address import listed, same_number, tag, text, uri_of, user
from collectors.sip.address import short as shortened
from collectors.sip.brief import Brief, to_tag
from collectors.sip.cause import may_tell
from collectors.sip.features import REFUSALS, of_invite, of_progress, says_do_not_disturb
from collectors.sip.glance import Unusual, glance
from collectors.sip.hops import answered_hop, goes_on, hop_of, last_hop, number_of, same_invite, tags_of
from collectors.sip.identity import identity
from collectors.sip.legs import leg_key
from collectors.sip.limits import Limits
from collectors.sip.media.desk import Desk
from collectors.sip.media.report import Report
from collectors.sip.message import Message
from collectors.sip.origin import origin_of
from collectors.sip.packets import SipPacket
from collectors.sip.quick import read
from collectors.sip.recording import is_recording, recorded
from collectors.sip.registrar import Registrar
from collectors.sip.replaces import Replaces, read_replaces, refer_target
from collectors.sip.sdp import address_of
from collectors.sip.site import Site, service
from collectors.sip.state import ANSWERED, ENDED, TRYING, Dialog, Group, Refer
from collectors.sip.table import Table

GONE = frozenset((408, 481))
"""Answers to a request within a dialog by which the other end knows it no more, or is not there (RFC 3261 section 12.2.1.2)."""

PROGRESS = frozenset((181, 182))

RINGS = frozenset((180, 183))
"""Provisional answers by which the caller hears something: it rings, or early media (RFC 6076 section 4.3). 181, 182 and 199
tell the caller nothing of the called phone."""


REPORTING = frozenset((b"PUBLISH", b"NOTIFY"))
"""Requests that may carry a phone's report of voice quality (RFC 6035)."""


class Calls(Table):
    """The table of calls, and the messages that change it."""

    def __init__(
        self,
        limits: Limits,
        site: Site,
        registrar: Registrar,
        counters: dict[str, int],
        records: list[Record],
        desk: Desk | None = None,
    ) -> None:
        super().__init__(limits, site, counters, records, desk)
        self.registrar = registrar

    def _emit(self, group: Group, now_us: int) -> None:
        super()._emit(group, now_us)
        self.registrar.risks.called(group.dialogs[0])

    # --- requests

    def invite(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        thread = self.threads.get(short[2])
        known = same_invite(thread, packet, short[3]) if thread else None
        if known is not None and known.phase != ENDED:
            known.last_us = known.resent_us = packet.at_us
            known.resent += 1
            if known.resent >= machine.UNHEARD_RESENDS:
                self._not_after(self.groups[known.call], machine.deadline(known, self.limits))
            self.counters["retransmissions"] += 1
            return
        message = message or read(data, short, self.counters)
        if known is not None and known.from_tag == message.ends()[1]:
            self.counters["retransmissions"] += 1
            return
        if message.ends()[2]:
            self._within(thread, packet, message)
        else:
            self._begin(thread, packet, message)

    def _begin(self, thread: list[Dialog] | None, packet: SipPacket, message: Message) -> None:
        from_tag = message.ends()[1]
        group = hop = None
        if thread:
            hop = last_hop(thread, packet, from_tag)
            if hop is not None and number_of(message.cseq) <= number_of(hop.cseq):
                self.counters["retransmissions"] += 1
                return
            if hop is not None and self._is_retry(hop):
                self._reopen(hop, packet, message)
                return
        invite, names = self._dialog(packet, message, from_tag)
        if is_recording(message):
            self._record(invite, message)
            return
        if thread:
            group = self._continued(thread, hop, invite)
            if group is None:
                self._retire(thread)
            else:
                invite.call = group.id
                self.correlator.went_on(invite)
        group = group or self._related(invite, names, message)
        if group is None:
            group = self._new_group(packet.at_us)
            invite.side = "caller"
        elif len(names) > 1 and group.dialogs:
            self._overrides(group.dialogs[0], invite, names)
        self._attach(group, invite)
        self._offered(invite, packet, message.cseq, message.body)

    @staticmethod
    def _overrides(own: Dialog, invite: Dialog, names: list[str]) -> None:
        """The phone system asserts the seat that calls, and shows another number (RFC 3325 section 7)."""
        if not same_number(names[0], own.caller) and any(same_number(name, own.caller) for name in names[1:]):
            at_ms = invite.started_us // 1000
            invite.features.append(FeatureUse(code="caller_id_override", endpoint=own.caller, at_ms=at_ms))

    def _record(self, invite: Dialog, message: Message) -> None:
        """A recording session: followed in a place of its own, so that nothing of it is taken for a call."""
        told = recorded(message)
        invite.side, invite.session, invite.features = "recording", told.session, []
        invite.callee = next(iter(told.names), "")
        call = self.correlator.by_session(invite) or self.correlator.among(invite.src, told.names, self.groups)
        invite.recorded, invite.session = call, b""
        self._attach(self._new_group(invite.started_us), invite)

    def _recorded(self, dialog: Dialog, at_us: int) -> None:
        """The recorder has accepted: the call is recorded. Where it is not known, or over, the use stands alone."""
        group = self._alive(dialog.recorded)
        if group is not None:
            own = group.dialogs[0]
            machine.add_use(own, FeatureUse(code="recording", endpoint=own.caller, at_ms=at_us // 1000), once=True)
            return
        use = FeatureUse(code="recording", endpoint=dialog.callee, at_ms=at_us // 1000, key=leg_key(dialog))
        self.records.append(use)

    def _offered(self, dialog: Dialog, packet: SipPacket, cseq: bytes, message: bytes) -> None:
        if self.desk is not None:
            offers.request(self.desk, dialog, packet.src == dialog.src, cseq, message)

    def _is_retry(self, hop: Dialog) -> bool:
        """The same attempt again: after a challenge, or after an answer that was not heard."""
        if self.groups[hop.call].emitted_us:
            return False
        return hop.phase == TRYING or (hop.retry and hop.status >= 400)

    def _reopen(self, hop: Dialog, packet: SipPacket, message: Message) -> None:
        ended = hop.phase == ENDED
        if not ended:
            self.correlator.remove(hop)
        if dialled := user(message.uri):  # with more digits after a 484, or while it is still awaited
            hop.callee = self.registrar.endpoint_of(message.uri) or dialled
            hop.dialled = dialled
        hop.cseq, hop.last_us, hop.phase = message.cseq, packet.at_us, TRYING
        hop.resent = 0
        hop.status, hop.ended_us, hop.retry, hop.to_tag, hop.cancelled_us = 0, 0, False, b"", 0
        self.correlator.add(hop)
        if ended:
            self._schedule(self.groups[hop.call], packet.at_us)
        self._offered(hop, packet, message.cseq, message.body)

    def _continued(self, thread: list[Dialog], hop: Dialog | None, invite: Dialog) -> Group | None:
        """The call that the same Call-ID stands for, while that call goes on."""
        return self._alive(goes_on(thread, hop, invite))

    def _related(self, invite: Dialog, names: list[str], message: Message) -> Group | None:
        """The call that an INVITE with a Call-ID of its own belongs to."""
        replaces = message.get(b"Replaces") if b"Replaces" in message.first else b""
        if replaces and (dialog := read_replaces(replaces)) is not None:
            asked = self.correlator.by_refer(invite, self.groups, dialog.call_id)
            if asked is not None and (transferred := self._alive(asked)) is not None:
                return transferred
            if (replaced := self._replaced(dialog)) is not None:
                if b"early-only" in replaces or self._rings(dialog):
                    invite.side = "pickup"
                return replaced
        return self._alive(self.correlator.find(invite, names, self.groups))

    def _rings(self, replaces: Replaces) -> bool:
        """Whether what is replaced was not answered yet: that is a pickup, whether it says so or not (RFC 3891 section 3)."""
        thread = self.threads.get(replaces.call_id)
        return bool(thread) and all(dialog.phase == TRYING for dialog in thread or ())

    def _alive(self, number: int | None) -> Group | None:
        group = None if number is None else self.groups.get(number)
        return None if group is None or group.emitted_us else group

    def _dialog(self, packet: SipPacket, message: Message, from_tag: bytes) -> tuple[Dialog, list[str]]:
        who = identity(message)
        dialled = user(message.uri) or user(uri_of(message.get(b"To")))
        self.serial += 1
        invite = Dialog(
            0,
            self.serial,
            message.call_id,
            from_tag,
            packet.transport,
            packet.src,
            packet.dst,
            "callee",
            message.cseq,
            who.names[0],
            dialled,
            self.registrar.endpoint_of(message.uri) or dialled,
            text(message.get(b"User-Agent")),
            packet.at_us,
            packet.at_us,
            message.cseq,
        )
        if b"Session-ID" in message.first:
            invite.session = shortened(message.get(b"Session-ID"))
        if message.body:
            invite.origin = origin_of(message.body)
            invite.addresses = address_of(message.body), b""
        invite.features.extend(of_invite(message, invite.caller, invite.callee, packet.at_us // 1000))
        if message.uri[:5].lower() == b"sips:" or packet.transport == "tls":
            invite.features.append(FeatureUse(code="encrypted_call", endpoint="", at_ms=packet.at_us // 1000))
        invite.private, invite.attestation = who.private, who.attestation
        return invite, list(who.names)

    def _within(self, thread: list[Dialog] | None, packet: SipPacket, message: Message) -> None:
        """A re-INVITE or UPDATE in a dialog."""
        dialog = self._find(thread, packet, message)
        if dialog is None:
            self.counters["mid_dialog"] += 1
            self.midway.asked(packet, message)
            return
        dialog.last_us = packet.at_us
        if machine.modify(dialog, packet.src == dialog.src, message, packet.at_us):
            self.counters["retransmissions"] += 1
        else:
            self._offered(dialog, packet, message.cseq, message.body)

    def update(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        self._within(self.threads.get(short[2]), packet, message or read(data, short, self.counters))

    def ack(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        thread = self.threads.get(short[2])
        dialog = hop_of(thread, packet) if thread else None
        if dialog is None:
            if thread is None:
                self.midway.asked(packet, message or read(data, short, self.counters))
            return
        dialog.last_us = packet.at_us
        if dialog.phase == TRYING and not dialog.acked_us:
            dialog.acked_us = packet.at_us
        self._offered(dialog, packet, short[3], data)

    def touch(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        """Any other request: a sign of life of its dialog, and read for what is wrong with it."""
        if message is None:
            read(data, short, self.counters)
        if self.desk is not None and short[0] in REPORTING:
            for report in quality.of_body(packet.at_us, data):
                self.report(self.desk, report)
        thread = self.threads.get(short[2])
        dialog = hop_of(thread, packet) if thread else None
        if dialog is not None:
            dialog.last_us = packet.at_us
            self._offered(dialog, packet, short[3], data)

    def info(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        """INFO; with `Record: on` a phone's key asks the phone system to record (Snom, Yealink and others)."""
        self.touch(packet, data, short, message)
        if data.find(b"Record:") < 0:
            return
        message = message or read(data, short, self.counters)
        dialog = self._find(self.threads.get(short[2]), packet, message)
        if dialog is not None and message.get(b"Record").lower() == b"on":
            machine.ask(dialog, packet.src == dialog.src, message.cseq, b"recording")

    def cancel(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        thread = self.threads.get(short[2])
        dialog = hop_of(thread, packet) if thread else None
        if dialog is None:
            return
        dialog.last_us = packet.at_us
        if dialog.phase == TRYING and number_of(dialog.cseq) == number_of(short[3]):
            dialog.cancelled_us = dialog.cancelled_us or packet.at_us
            machine.note_reason(dialog, message or read(data, short, self.counters))

    def bye(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        thread = self.threads.get(short[2])
        if not thread:
            self.counters["mid_dialog"] += 1
            self.midway.asked(packet, message or read(data, short, self.counters))
            return
        if len(thread) == 1 and not thread[0].forks:
            self._hang_up(thread[0], packet, data, short, message)
            return
        message = message or read(data, short, self.counters)
        tags = tags_of(message)
        named = [dialog for dialog in thread if machine.is_named(dialog, tags)]
        for dialog in named:
            if not machine.end_fork(dialog, tags, packet.at_us):
                self._hang_up(dialog, packet, data, short, message)
        if not named and (other := hop_of(thread, packet)) is not None:
            self._hang_up(other, packet, data, short, message)

    def _hang_up(self, dialog: Dialog, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        dialog.last_us = packet.at_us
        if dialog.phase == TRYING and not machine.is_named(
            dialog, tags_of(message or read(data, short, self.counters))
        ):
            return
        if self.desk is not None:
            quality.of_bye(self.desk, dialog, packet.src == dialog.src, packet.at_us, data)
        if dialog.phase != ENDED:
            machine.hang_up(dialog, packet.src, packet.dst, packet.at_us)
            if may_tell(data):
                machine.note_reason(dialog, message or read(data, short, self.counters))
            self._ended(dialog, packet.at_us)

    def refer(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        message = message or read(data, short, self.counters)
        dialog = self._find(self.threads.get(short[2]), packet, message)
        if dialog is None:
            if message.ends()[2]:
                self.counters["mid_dialog"] += 1
            else:
                self._refer_alone(packet, data, short, message)
            return
        dialog.last_us = packet.at_us
        wanted = refer_target(message.get(b"Refer-To"))
        by_caller = packet.src == dialog.src
        code = b"" if machine.leads_to_focus(dialog, by_caller) else wanted.code
        if code and service(self.site, wanted.user) == "park":
            code = b"park"
        if not machine.ask(dialog, by_caller, message.cseq, code):
            return
        if wanted.code:
            replaced = wanted.replaces.call_id if self._replaced(wanted.replaces) and wanted.replaces else b""
            self.correlator.asked(Refer(packet.at_us, packet.dst, wanted.user, dialog.call, replaces=replaced))

    def _refer_alone(self, packet: SipPacket, data: bytes, short: Brief, message: Message) -> None:
        """A REFER in no dialog: about the one that Target-Dialog names (RFC 4538), or an application that has a phone call."""
        about = self._replaced(read_replaces(message.get(b"Target-Dialog")))
        if about is not None:
            wanted = refer_target(message.get(b"Refer-To"))
            self.correlator.asked(Refer(packet.at_us, packet.dst, wanted.user, about.id))
        self.registrar.request(packet, data, short, message)

    # --- answers

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
        if cseq.endswith(b" BYE"):
            machine.hang_up(dialog, packet.dst, packet.src, dialog.last_us)
            self._ended(dialog, dialog.last_us)
        else:
            dialog.last_us = packet.at_us
            by_caller = packet.dst == dialog.src
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

    def report(self, desk: Desk, report: Report) -> bool:
        thread = self.threads.get(shortened(report.call_id)) if report.call_id else None
        return desk.report(report, thread[0].serial if thread else None)

    def _contact(self, value: bytes) -> str:
        """The user that a Contact names, by its address of record where it registered."""
        uri = uri_of(next(iter(listed([value])), b"") if b"," in value else value)
        return self.registrar.endpoint_of(uri) or user(uri)

    def _replaced(self, replaces: Replaces | None) -> Group | None:
        """The call of the dialog that a Replaces names (RFC 3891 section 3)."""
        thread = self.threads.get(replaces.call_id) if replaces else None
        if not thread:
            return None
        return self._alive(thread[-1].call)

    def _find(self, thread: list[Dialog] | None, packet: SipPacket, message: Message) -> Dialog | None:
        if not thread:
            return None
        hop = hop_of(thread, packet)
        if hop is not None and (len(thread) == 1 or {packet.src, packet.dst} == {hop.src, hop.dst}):
            return hop
        tags = tags_of(message)
        return next((dialog for dialog in thread if machine.is_named(dialog, tags)), hop)
