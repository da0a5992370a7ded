"""The table of calls with what finds a dialog, a call or a seat in it."""

from collectors.records import Record
from collectors.sip import dialog as machine
from collectors.sip import offers
from collectors.sip.address import listed, uri_of, user
from collectors.sip.address import short as shortened
from collectors.sip.hops import hop_of, tags_of
from collectors.sip.limits import Limits
from collectors.sip.media.desk import Desk
from collectors.sip.media.report import Report
from collectors.sip.message import Message
from collectors.sip.packets import SipPacket
from collectors.sip.registrar import Registrar
from collectors.sip.replaces import Replaces
from collectors.sip.site import Site
from collectors.sip.state import TRYING, Dialog, Group
from collectors.sip.table import Table


class Lookup(Table):
    """`registrar` knows which endpoint a contact is."""

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

    def _offered(self, dialog: Dialog, packet: SipPacket, cseq: bytes, message: bytes) -> None:
        if self.desk is not None:
            offers.request(self.desk, dialog, packet.src == dialog.src, cseq, message)

    def _alive(self, number: int | None) -> Group | None:
        group = None if number is None else self.groups.get(number)
        return None if group is None or group.emitted_us else group

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

    def _rings(self, replaces: Replaces) -> bool:
        """Whether what is replaced was not answered yet: that is a pickup, whether it says so or not (RFC 3891 section 3)."""
        thread = self.threads.get(replaces.call_id)
        return bool(thread) and all(dialog.phase == TRYING for dialog in thread or ())

    def _find(self, thread: list[Dialog] | None, packet: SipPacket, message: Message) -> Dialog | None:
        if not thread:
            return None
        hop = hop_of(thread, packet)
        if hop is not None and (len(thread) == 1 or {packet.src, packet.dst} == {hop.src, hop.dst}):
            return hop
        tags = tags_of(message)
        return next((dialog for dialog in thread if machine.is_named(dialog, tags)), hop)

    def report(self, desk: Desk, report: Report) -> bool:
        thread = self.threads.get(shortened(report.call_id)) if report.call_id else None
        return desk.report(report, thread[0].serial if thread else None)
