"""Calls that were up before the capture began: known by what is said within them. Pure.

Laws
- A call is known midway when both ends speak of it: a request with both tags (re-INVITE, UPDATE, BYE) that the other end
  accepts. One alone (a stray BYE, a scanner's) opens nothing; an ACK tells when it began, and waits for one of them.
- It begins with the first thing that was heard of it, and is marked `partial`. Who placed it cannot be known: who spoke first
  stands for the caller.
- What was handed in before without a heard end (silence, a full table) is not handed in a second time by what follows.
"""

from hashlib import blake2b

from msgspec import Struct

from collectors.sip.address import number_key, short, uri_of, user
from collectors.sip.message import Message
from collectors.sip.packets import SipPacket, host
from collectors.sip.state import ANSWERED, Dialog, Group

SEEN_MAX = 1_024
"""Dialogs heard of by one end alone. At the start of a capture a site of 1,000 seats has a tenth of that in progress."""

DONE_MAX = 4_096
"""Calls without a heard end that are remembered after they were handed in, 8 octets each."""

BESIDE_US = 2_000_000
"""Within this time the phone system passes a BYE on to its other side, where the two share one name only."""


class Seen(Struct, array_like=True):
    """A dialog whose INVITE was not captured: as far as it is known, and the request that awaits its answer."""

    dialog: Dialog
    cseq: bytes
    src: str
    dst: str


class MidwayState(Struct, array_like=True):
    seen: dict[bytes, Seen] = {}
    """What one end spoke of, by Call-ID; heard of least recently first."""
    done: dict[bytes, int] = {}
    """Digests of Call-IDs that were handed in without a heard end."""
    calls: list[int] = []
    """Calls in progress that are known midway."""


class Midway:
    def __init__(self) -> None:
        self.state = MidwayState()

    def asked(self, packet: SipPacket, message: Message) -> None:
        """A request within a dialog that is not known."""
        sender, from_tag, to_tag = message.ends()
        state, call_id = self.state, message.call_id
        known = state.seen.pop(call_id, None)
        if known is None:
            caller, callee = user(sender), user(uri_of(message.get(b"To")))
            if not (from_tag and to_tag and caller and callee) or _digest(call_id) in state.done:
                return
            known = Seen(_dialog(packet, message, caller, callee), message.cseq, packet.src, packet.dst)
        if known.cseq != message.cseq:  # else it comes again, or passes a further hop
            known.cseq, known.src, known.dst, known.dialog.last_us = message.cseq, packet.src, packet.dst, packet.at_us
        if len(state.seen) >= SEEN_MAX:
            del state.seen[next(iter(state.seen))]
        state.seen[call_id] = known

    def proven(self, packet: SipPacket, status: int, call_id: bytes, cseq: bytes) -> Dialog | None:
        """The dialog that an answer shows to be one."""
        known = self.state.seen.get(call_id)
        if known is None or known.cseq != cseq or (packet.src, packet.dst) != (known.dst, known.src):
            return None
        if not 200 <= status < 300:
            return None
        del self.state.seen[call_id]
        return known.dialog

    def handed_in(self, dialog: Dialog) -> None:
        """Its end was not heard: what is still said in it belongs to a call that is told already."""
        done = self.state.done
        if len(done) >= DONE_MAX:
            del done[next(iter(done))]
        done[_digest(dialog.call_id)] = 0

    def beside(self, dialog: Dialog, groups: dict[int, Group]) -> Group | None:
        """The call of which this is another leg: known midway too, on the other side of the same phone system."""
        calls = [groups[number] for number in self.state.calls if number in groups and not groups[number].emitted_us]
        self.state.calls = [group.id for group in calls]
        best = max(calls, key=lambda group: _nearness(dialog, group), default=None)
        return best if best is not None and _nearness(dialog, best) else None


def _nearness(dialog: Dialog, group: Group) -> int:
    """How many names the two have in common; 0 where they do not belong together."""
    first = group.dialogs[0]
    ends, others = {host(dialog.src), host(dialog.dst)}, {host(first.src), host(first.dst)}
    if len(ends & others) != 1:
        return 0
    same = len(_names(dialog) & _names(first))
    return same if same == 2 or abs(dialog.last_us - first.last_us) <= BESIDE_US else 0


def _names(dialog: Dialog) -> set[str]:
    return {number_key(dialog.caller), number_key(dialog.callee)}


def _dialog(packet: SipPacket, message: Message, caller: str, callee: str) -> Dialog:
    _, from_tag, to_tag = message.ends()
    return Dialog(
        0,
        0,
        message.call_id,
        from_tag,
        packet.transport,
        packet.src,
        packet.dst,
        "callee",
        message.cseq,
        caller,
        callee,
        callee,
        "",
        packet.at_us,
        packet.at_us,
        message.cseq,
        phase=ANSWERED,
        answered_us=packet.at_us,
        to_tag=to_tag,
        session=short(message.get(b"Session-ID")),
        partial=True,
    )


def _digest(call_id: bytes) -> bytes:
    return blake2b(call_id, digest_size=8).digest()
