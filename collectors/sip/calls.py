"""Calls in progress: what each message does to them.

Laws
- Key of a dialog: Call-ID, From tag, the INVITE's sequence number and the two addresses. A retransmission is nothing
  new, a retry after 401/407 is the same attempt, a Call-ID that comes again after a BYE is another call.
- A dialog is answered by the first 2xx to its INVITE, and ended by a BYE's request, a final failure, or silence.
- Only an INVITE without a To tag opens anything: no other method, and no answer that nobody asked for. (What both ends say in
  a dialog that began before the capture: see `midway`.)
- Every message comes with what `brief` told of it, and whole where that way could not read it.
"""

from collectors.records import FeatureUse
from collectors.sip import dialog as machine
from collectors.sip.address import same_number, text, uri_of, user
from collectors.sip.address import short as shortened
from collectors.sip.answers import Answers
from collectors.sip.brief import Brief
from collectors.sip.features import of_invite
from collectors.sip.hops import goes_on, last_hop, number_of, same_invite
from collectors.sip.identity import identity
from collectors.sip.message import Message
from collectors.sip.origin import origin_of
from collectors.sip.packets import SipPacket
from collectors.sip.quick import read
from collectors.sip.recording import is_recording, recorded
from collectors.sip.replaces import read_replaces
from collectors.sip.sdp import address_of
from collectors.sip.state import ENDED, TRYING, Dialog, Group
from collectors.sip.within import Within


class Calls(Within, Answers):
    """The table of calls, and the messages that change it."""

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

    def _dialog(self, packet: SipPacket, message: Message, from_tag: bytes) -> tuple[Dialog, list[str]]:
        who = identity(message)
        dialled = user(message.uri) or user(uri_of(message.get(b"To")))
        endpoint = self.registrar.endpoint_of(message.uri)
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
            endpoint or dialled,
            text(message.get(b"User-Agent")),
            packet.at_us,
            packet.at_us,
            message.cseq,
        )
        invite.at_contact = endpoint != ""
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
