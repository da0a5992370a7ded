"""What a dialog's messages tell of its media: each offer and answer, to the desk that awaits it. Pure.

Laws
- A session description belongs to the request that carried it, or that it answers: that request's CSeq number and sender are
  its key (see `media.negotiation`).
"""

from collectors.sip.media.desk import Desk
from collectors.sip.media.negotiation import CALLEE, CALLER
from collectors.sip.state import ENDED, Dialog


def request(desk: Desk, dialog: Dialog, by_caller: bool, cseq: bytes, message: bytes) -> None:
    """An INVITE, UPDATE, PRACK or ACK; `message` or its body. An ACK is final by itself (RFC 3261 section 13.2.1)."""
    if _is_over(dialog) or message.find(b"m=") < 0:
        return
    key = _key(by_caller, cseq)
    desk.told(dialog.serial, dialog.call, CALLER if by_caller else CALLEE, key, message)
    if cseq.endswith(b"ACK"):
        desk.settled(dialog.serial, key)


def answer(desk: Desk, dialog: Dialog, by_caller: bool, status: int, cseq: bytes, message: bytes) -> None:
    """An answer to one of them. `by_caller`: whether the caller gives it."""
    if _is_over(dialog):
        return
    key = _key(not by_caller, cseq)
    if status < 300 and message.find(b"m=") >= 0:
        desk.told(dialog.serial, dialog.call, CALLER if by_caller else CALLEE, key, message)
    if status >= 300:
        desk.refused(dialog.serial, key)
    elif status >= 200:
        desk.settled(dialog.serial, key)


def _is_over(dialog: Dialog) -> bool:
    """Nothing is awaited for it any more: it has ended (what comes is sent again), or is no leg of a call (a limit)."""
    return dialog.phase == ENDED or not dialog.call


def _key(asked_by_caller: bool, cseq: bytes) -> bytes:
    return (b"r" if asked_by_caller else b"e") + cseq[: cseq.find(b" ")]
