"""What becomes of one dialog: pure steps from one state of it to the next.

Laws
- A step changes the `Dialog` it is given and nothing else. It knows neither other dialogs nor calls.
- The first 2xx is the answer and the first BYE the end; what comes again changes nothing.
"""

from msgspec import Struct

from collectors.records import FeatureUse
from collectors.sip.address import number_key
from collectors.sip.cause import cause_of, reason_of
from collectors.sip.features import AT_ONCE_US, is_focus, of_media, of_redirect
from collectors.sip.limits import Limits
from collectors.sip.message import Message
from collectors.sip.sdp import NO_MEDIA, address_of, held, media, passes_fax
from collectors.sip.state import ANSWERED, ENDED, TRYING, Dialog, Fork

RETRY = frozenset((401, 407, 413, 414, 415, 416, 420, 421, 422, 484, 488, 491, 494))
"""Final answers after which RFC 3261 section 8.1.3.5 (and 4028, 3329) has the client try again in the same call; after 484
with more digits (RFC 3578 section 3)."""

ASKED_MAX = 16
"""Requests within one dialog whose answer is awaited."""

FORKS_MAX = 32
"""Early dialogs of one INVITE."""

FEATURES_MAX = 64
"""Uses of features kept for one dialog; a phone that toggles hold all day stays below."""


class Told(Struct, gc=False):
    """What a 2xx to an INVITE says of the dialog."""

    to_tag: bytes
    contact: bytes
    session_expires: bytes
    body: bytes


def told(message: Message) -> Told:
    return Told(message.ends()[2], message.get(b"Contact"), message.get(b"Session-Expires"), message.body)


def answer(dialog: Dialog, at_us: int, told: Told, contact: str) -> None:
    """The first 2xx to its INVITE."""
    dialog.phase, dialog.answered_us, dialog.status, dialog.clock_us = ANSWERED, at_us, 200, 0
    if dialog.to_tag and dialog.to_tag != told.to_tag:  # the branch that rang first has lost
        fork(dialog, dialog.to_tag, dialog.ringing_us or at_us, "")
    dialog.to_tag = told.to_tag
    dialog.contact = contact
    dialog.addresses = dialog.addresses[0], address_of(told.body)
    dialog.expires_us = _session_expires_us(told.session_expires)
    if dialog.forks:
        dialog.forks = [fork for fork in dialog.forks if fork.to_tag != dialog.to_tag]
    note_media(dialog, told, at_us)


def note_media(dialog: Dialog, told: Told, at_us: int) -> None:
    """What is agreed now: the seat that uses it is the phone's, so it is the caller on the caller's own leg."""
    found, focus = media(told.body), is_focus(told.contact)
    if found is not NO_MEDIA or focus:
        for use in of_media(found, focus, _party(dialog), at_us // 1000):
            add_use(dialog, use, once=True)


def _party(dialog: Dialog) -> str:
    """The end of this leg that is not the phone system's."""
    return dialog.callee if dialog.side == "callee" else dialog.caller


def add_use(dialog: Dialog, use: FeatureUse, once: bool = False) -> None:
    if once and any(known.code == use.code and known.endpoint == use.endpoint for known in dialog.features):
        return
    if len(dialog.features) < FEATURES_MAX:
        dialog.features.append(use)


def fail(dialog: Dialog, at_us: int, message: Message) -> None:
    """A final answer of 300 or more."""
    status = message.status
    dialog.phase, dialog.ended_us, dialog.status = ENDED, at_us, status
    dialog.retry = status in RETRY or status < 400
    note_reason(dialog, message)
    if status < 400:
        for use in of_redirect(message, dialog.callee, bool(dialog.ringing_us), at_us // 1000):
            add_use(dialog, use, once=True)


def refused_at_once(dialog: Dialog, at_us: int) -> bool:
    """Whether a phone of the office refuses by itself: no ringing, no time for anybody to act. An outside number that is
    refused says nothing of a seat, nor does 480 from what may be a proxy that does not know where the phone is."""
    if dialog.side != "callee" or dialog.ringing_us or at_us - dialog.started_us >= AT_ONCE_US:
        return False
    return dialog.at_contact or (dialog.status != 480 and number_key(dialog.callee) == dialog.callee)


def hang_up(dialog: Dialog, src: str, dst: str, at_us: int) -> None:
    """A BYE. Where the answer was not heard, an ACK before it tells that there was one."""
    if dialog.phase == TRYING:
        dialog.ending = "assumed"
        dialog.answered_us = dialog.acked_us
        if not dialog.acked_us and src == dialog.src:
            dialog.cancelled_us = at_us
    dialog.phase, dialog.ended_us = ENDED, at_us
    if dialog.clock_us:
        dialog.ended_us, dialog.ending = max(dialog.answered_us, at_us - dialog.clock_us), "assumed"
    if src == dialog.src or dst == dialog.dst:
        dialog.hung_up_by = "caller"
    elif src == dialog.dst or dst == dialog.src:
        dialog.hung_up_by = "callee"


def assume(dialog: Dialog) -> None:
    """Its end was not heard: it ends with its last sign of life."""
    dialog.phase, dialog.ended_us, dialog.ending = ENDED, dialog.last_us, "assumed"


def leave_open(dialog: Dialog, now_us: int) -> None:
    dialog.phase, dialog.ended_us, dialog.ending = ENDED, max(now_us, dialog.last_us), "open"


def fork(dialog: Dialog, to_tag: bytes, at_us: int, callee: str) -> None:
    """A provisional answer with another To tag: one more branch rings."""
    if len(dialog.forks) < FORKS_MAX and all(known.to_tag != to_tag for known in dialog.forks):
        dialog.forks.append(Fork(to_tag, callee, at_us))


def drop_fork(dialog: Dialog, to_tag: bytes, at_us: int) -> None:
    """199: this branch rings no more (RFC 6228)."""
    for known in dialog.forks:
        if known.to_tag == to_tag:
            known.ended_us = known.ended_us or at_us


def answer_fork(dialog: Dialog, to_tag: bytes, at_us: int, callee: str) -> None:
    """A second 2xx from another branch (RFC 3261 section 13.2.2.4): the caller ends one of the two with a BYE."""
    fork(dialog, to_tag, at_us, callee)
    for known in dialog.forks:
        if known.to_tag == to_tag and not known.answered_us:
            known.answered_us = at_us


def end_fork(dialog: Dialog, tags: tuple[bytes, bytes], at_us: int) -> bool:
    """Whether these tags name a branch that lost, rather than the dialog itself."""
    if dialog.to_tag in tags:
        return False
    for known in dialog.forks:
        if known.to_tag in tags:
            known.ended_us = known.ended_us or at_us
            return True
    return False


def is_named(dialog: Dialog, tags: tuple[bytes, bytes]) -> bool:
    """Whether From and To tags, in whichever order, are those of this dialog or of one of its branches."""
    if dialog.from_tag not in tags:
        return False
    return not dialog.to_tag or dialog.to_tag in tags or any(known.to_tag in tags for known in dialog.forks)


def ask(dialog: Dialog, by_caller: bool, cseq: bytes, code: bytes) -> bool:
    """Note a request whose answer matters; False where it is a retransmission."""
    key = _key(by_caller, cseq)
    if key in dialog.asked:
        return False
    if len(dialog.asked) >= ASKED_MAX:
        del dialog.asked[next(iter(dialog.asked))]
    dialog.asked[key] = code
    return True


def _key(by_caller: bool, cseq: bytes) -> bytes:
    return (b"r" if by_caller else b"e") + cseq


def modify(dialog: Dialog, by_caller: bool, message: Message, at_us: int) -> bool:
    """A re-INVITE or UPDATE. Whether it is one that was seen already."""
    body = message.body
    offer = _offer(dialog, by_caller, body)
    if not ask(dialog, by_caller, message.cseq, offer):
        return True
    if dialog.phase == ANSWERED:
        if offer and (passes_fax(body) or media(body).fax):  # a fax tone was heard; refused T.38 goes on as audio
            add_use(dialog, FeatureUse(code="fax", endpoint=_party(dialog), at_ms=at_us // 1000), once=True)
        if is_focus(message.get(b"Contact")):  # a phone that begins to mix (RFC 4579 section 5.4)
            endpoint = dialog.caller if by_caller else dialog.callee
            add_use(dialog, FeatureUse(code="conference", endpoint=endpoint, at_ms=at_us // 1000), once=True)
    return False


HOLD, MUSIC, LIVE = b"+hold", b"+music", b"+live"
"""What is noted of an offer within a dialog until it is answered: refused (491, 488), it changes nothing (RFC 3261
section 14.1)."""


def _offer(dialog: Dialog, by_caller: bool, body: bytes) -> bytes:
    """What an offer does. With music on hold the media comes from elsewhere than before (RFC 7088 section 2)."""
    if b"m=" not in body:
        return b""
    if not held(body):
        return LIVE
    before, now = dialog.addresses[0 if by_caller else 1], address_of(body)
    return MUSIC if b"a=sendonly" in body and before and now not in (before, b"0.0.0.0") else HOLD


def _hold(dialog: Dialog, by_caller: bool, offer: bytes, at_us: int) -> None:
    """One use for each time that one end puts the other on hold; refreshing it is nothing new."""
    end = "r" if by_caller else "e"
    if offer != LIVE and end not in dialog.held_by:
        dialog.held_by += end
        endpoint = dialog.caller if by_caller else dialog.callee
        add_use(dialog, FeatureUse(code="hold", endpoint=endpoint, at_ms=at_us // 1000))
        if offer == MUSIC:
            add_use(dialog, FeatureUse(code="music_on_hold", endpoint=endpoint, at_ms=at_us // 1000))
    elif offer == LIVE:
        dialog.held_by = dialog.held_by.replace(end, "")


def asked(dialog: Dialog, by_caller: bool, cseq: bytes) -> bytes | None:
    """What a request within the dialog was, if there was one: the feature that it used, the offer that it made, or nothing."""
    return dialog.asked.get(_key(by_caller, cseq))


def leads_to_focus(dialog: Dialog, by_caller: bool) -> bool:
    """Whether a request by this end goes to a conference, which takes a REFER for "ask them in" (RFC 4579 section 5.5)."""
    return by_caller and any(use.code == "conference" for use in dialog.features)


def accepted(dialog: Dialog, by_caller: bool, cseq: bytes, code: bytes) -> None:
    """A 2xx to a request that uses a feature: a use of it, once."""
    if not code:
        return
    endpoint = dialog.caller if by_caller else dialog.callee
    add_use(dialog, FeatureUse(code=code.decode(), endpoint=endpoint, at_ms=dialog.last_us // 1000))
    dialog.asked[_key(by_caller, cseq)] = b""


def agreed(dialog: Dialog, by_caller: bool, offer: bytes, told: Told) -> None:
    """A 2xx to a re-INVITE or UPDATE. Without Session-Expires in it no session timer runs from now on (RFC 4028
    section 7.2)."""
    if dialog.phase == ANSWERED:
        dialog.expires_us = _session_expires_us(told.session_expires)
        if offer:
            _hold(dialog, by_caller, offer, dialog.last_us)
        note_media(dialog, told, dialog.last_us)


def note_reason(dialog: Dialog, message: Message) -> None:
    """Why it ends, as the first message with a Reason says."""
    if b"Reason" in message.first:
        dialog.reason = dialog.reason or reason_of(message)
        dialog.cause = dialog.cause or cause_of(message)


def _session_expires_us(value: bytes) -> int:
    """Session-Expires as agreed (RFC 4028 section 4), as a span; 0 where no session timer runs."""
    value = value.partition(b";")[0].strip()
    return int(value[:9]) * 1_000_000 if value.isdigit() else 0


UNHEARD_RESENDS = 5
"""An INVITE is sent again after 0.5, 1.5, 3.5, 7.5 and 15.5 seconds (RFC 3261 section 17.1.1.2, timer A) and no more once
anything has answered, even an answer that was not captured: after the fifth time nobody is there."""


def deadline(dialog: Dialog, limits: Limits) -> int:
    """Until when it may be silent."""
    last_us = dialog.last_us + dialog.clock_us
    if dialog.phase == TRYING:
        dead = dialog.resent >= UNHEARD_RESENDS and dialog.last_us == dialog.resent_us
        return last_us + (limits.transaction_ms if dead else limits.setup_silence_ms) * 1000
    silence_us = limits.talk_silence_ms * 1000
    if dialog.expires_us:
        silence_us = min(silence_us, dialog.expires_us + limits.session_grace_ms * 1000)
    return last_us + silence_us


def patience_us(dialog: Dialog, limits: Limits) -> int:
    """How long after its end something may still follow."""
    return (limits.retry_ms if dialog.retry else limits.settle_ms) * 1000
