"""Which dialog of a Call-ID a message belongs to. Pure.

A Call-ID has one dialog mostly; a proxy in between makes one for each hop, a fork one for each branch.
"""

from collectors.sip.message import Message
from collectors.sip.packets import SipPacket
from collectors.sip.state import ENDED, TRYING, Dialog


def tags_of(message: Message) -> tuple[bytes, bytes]:
    return message.ends()[1:]


def number_of(cseq: bytes) -> int:
    return int(cseq[: cseq.find(b" ")])


def same_invite(thread: list[Dialog], packet: SipPacket, cseq: bytes) -> Dialog | None:
    for dialog in thread:
        if dialog.cseq == cseq and dialog.src == packet.src and dialog.dst == packet.dst:
            return dialog
    return None


def hop_of(thread: list[Dialog], packet: SipPacket) -> Dialog | None:
    """The dialog between these two addresses, either way; the only one there is where none fits."""
    if len(thread) == 1:
        return thread[0]
    for dialog in reversed(thread):
        if (dialog.src == packet.src and dialog.dst == packet.dst) or (
            dialog.src == packet.dst and dialog.dst == packet.src
        ):
            return dialog
    return None


def last_hop(thread: list[Dialog], packet: SipPacket, from_tag: bytes) -> Dialog | None:
    for dialog in reversed(thread):
        if dialog.src == packet.src and dialog.dst == packet.dst and dialog.from_tag == from_tag:
            return dialog
    return None


def answered_hop(thread: list[Dialog], packet: SipPacket, cseq: bytes) -> Dialog:
    """The dialog that an answer belongs to: the one whose INVITE went the other way, else one with this INVITE."""
    for dialog in reversed(thread):
        if dialog.src == packet.dst and dialog.dst == packet.src and dialog.cseq == cseq:
            return dialog
    for dialog in reversed(thread):
        if dialog.cseq == cseq and dialog.phase == TRYING:
            return dialog
    return hop_of(thread, packet) or thread[-1]


def goes_on(thread: list[Dialog], hop: Dialog | None, invite: Dialog) -> int | None:
    """The call that an INVITE with a known Call-ID goes on with: a fork, a further hop, a redirection, another try. None
    where that call is over: a Call-ID that comes again after a BYE, or from the same phone while one is up."""
    if hop is not None and (hop.answered_us or hop.phase != ENDED):
        return None
    sender = next((dialog for dialog in thread if dialog.src == invite.src), None)
    if all(dialog.phase == ENDED for dialog in thread) and any(dialog.answered_us for dialog in thread):
        return None
    if sender is not None:
        if sender.from_tag != invite.from_tag and sender.dst == invite.dst:
            return None
        invite.side = sender.side
    return thread[-1].call
