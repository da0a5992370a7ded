"""Uses of features that a SIP message shows by itself. Pure: a message in, uses out.

The codes are the meters' catalogue; each rule names the RFC that it reads.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from collectors.records import FeatureUse
from collectors.sip.address import listed, param, read_address, text, user
from collectors.sip.message import Message
from collectors.sip.sdp import Media

DIVERSION_REASONS = {  # RFC 5806 section 4
    b"unconditional": "call_forward_unconditional",
    b"deflection": "call_forward_unconditional",
    b"away": "call_forward_unconditional",
    b"unavailable": "call_forward_no_answer",
    b"out-of-service": "call_forward_no_answer",
    b"user-busy": "call_forward_busy",
    b"no-answer": "call_forward_no_answer",
    b"follow-me": "find_me_follow_me",
    b"do-not-disturb": "do_not_disturb",
    b"time-of-day": "time_condition",
}

HISTORY_CAUSES = {  # RFC 4458 section 2 and RFC 7544 section 3
    b"302": "call_forward_unconditional",
    b"486": "call_forward_busy",
    b"408": "call_forward_no_answer",
    b"480": "call_forward_unconditional",  # deflected before it rang
    b"487": "call_forward_unconditional",  # deflected while it rang
    b"503": "call_forward_no_answer",  # the mobile was not reachable
}

REFUSALS = frozenset((480, 486, 603))
"""How phones answer that are not to be disturbed: which of these is a setting of the phone."""

AT_ONCE_US = 1_000_000
"""Nobody reaches for a key within a second of an INVITE that has not even rung."""

CALL_WAITING = b"call-waiting"
"""RFC 7462's `urn:alert:service:call-waiting`."""

_NOT_DISTURBED = re.compile(
    rb"^(?:sip/2|reason|warning)[^\n]*(?:do[ -]?not[ -]?disturb|\bdnd\b)", re.MULTILINE | re.IGNORECASE
)

_TELLING = frozenset(
    (b"Diversion", b"History-Info", b"Alert-Info", b"Call-Info", b"Answer-Mode", b"Priv-Answer-Mode", b"Join")
)


def of_invite(message: Message, caller: str, callee: str, at_ms: int) -> list[FeatureUse]:
    """What an INVITE that begins a dialog says."""
    uses: list[FeatureUse] = []
    if not _TELLING.isdisjoint(message.first):
        uses.extend(_forwards(message, at_ms))
        if _answers_by_itself(message):
            code = "paging" if _is_multicast(message.body) else "intercom"
            uses.append(FeatureUse(code=code, endpoint=caller, at_ms=at_ms))
        if CALL_WAITING in message.get(b"Alert-Info"):
            uses.append(FeatureUse(code="call_waiting", endpoint=callee, at_ms=at_ms))
        if message.get(b"Join"):  # RFC 3911
            uses.append(FeatureUse(code="conference", endpoint=caller, at_ms=at_ms))
    if is_focus(message.get(b"Contact")):  # a conference calls somebody in
        uses.append(FeatureUse(code="conference", endpoint=callee, at_ms=at_ms))
    if message.uri.find(b"target=") >= 0 and (box := _voicemail_target(message.uri)):
        uses.append(FeatureUse(code="voicemail_deposit", endpoint=box, at_ms=at_ms))
    return uses


def of_progress(message: Message, caller: str, at_ms: int) -> list[FeatureUse]:
    """What 181 (forwarded: by whom, and why) and 182 (queued, RFC 3261 section 21.1.4) say."""
    if message.status == 182:
        return [FeatureUse(code="queue", endpoint=caller, at_ms=at_ms)]
    return list(_forwards(message, at_ms))


def says_do_not_disturb(answer: bytes) -> bool:
    """Whether a refusal says so in its reason phrase, Reason or Warning."""
    return _NOT_DISTURBED.search(answer.partition(b"\r\n\r\n")[0]) is not None


def of_redirect(message: Message, callee: str, rang: bool, at_ms: int) -> list[FeatureUse]:
    """What a 3xx says: the callee forwards. Without a Diversion, ringing before tells no-answer from unconditional."""
    told = list(_forwards(message, at_ms))
    code = "call_forward_no_answer" if rang else "call_forward_unconditional"
    return told or [FeatureUse(code=code, endpoint=callee, at_ms=at_ms)]


def of_media(found: Media, focus: bool, endpoint: str, at_ms: int) -> Iterator[FeatureUse]:
    """What an answered offer says of the call."""
    if found.fax:
        yield FeatureUse(code="fax", endpoint=endpoint, at_ms=at_ms)
    if found.video:
        yield FeatureUse(code="video", endpoint=endpoint, at_ms=at_ms)
    if found.secure:
        yield FeatureUse(code="encrypted_call", endpoint=endpoint, at_ms=at_ms)
    if focus:
        yield FeatureUse(code="conference", endpoint=endpoint, at_ms=at_ms)


def is_focus(contact: bytes) -> bool:
    """RFC 4579 section 5.1: a conference says so in its Contact."""
    return contact.find(b"isfocus") >= 0


def _forwards(message: Message, at_ms: int) -> Iterator[FeatureUse]:
    for value in listed(message.values(b"Diversion")):
        address = read_address(value)
        reason = (param(address.params, b"reason") or b"").lower()
        if code := DIVERSION_REASONS.get(reason):
            yield FeatureUse(code=code, endpoint=user(address.uri), at_ms=at_ms)
    yield from _history(message, at_ms)


def _history(message: Message, at_ms: int) -> Iterator[FeatureUse]:
    """RFC 7044: an entry with a Reason was left by it; RFC 4458: a `cause` says why its entry was reached, so that the
    entry before it diverted."""
    before = b""
    for value in listed(message.values(b"History-Info")):
        uri = read_address(value).uri
        plain = unquote_to_bytes(uri.partition(b"?")[2]).lower()
        left = plain.partition(b"cause=")[2][:3] if plain.startswith(b"reason=sip") else b""
        reached = param(b";" + uri.partition(b"?")[0].rpartition(b"@")[2].partition(b";")[2], b"cause") or b""
        if code := HISTORY_CAUSES.get(left):
            yield FeatureUse(code=code, endpoint=user(uri.partition(b"?")[0]), at_ms=at_ms)
        elif before and (code := HISTORY_CAUSES.get(reached)):
            yield FeatureUse(code=code, endpoint=user(before), at_ms=at_ms)
        before = uri.partition(b"?")[0]


def _is_multicast(body: bytes) -> bool:
    """Whether media goes to a group of phones at once (RFC 8866 section 5.7)."""
    first = body.partition(b"\nc=IN IP4 ")[2][:3]
    return (first.isdigit() and 224 <= int(first) <= 239) or b"\nc=IN IP6 ff" in body.lower()


def _answers_by_itself(message: Message) -> bool:
    """RFC 5373's Answer-Mode, and the two older ways that phones understand."""
    if message.get(b"Answer-Mode").lower().startswith(b"auto") or message.get(b"Priv-Answer-Mode").lower().startswith(
        b"auto"
    ):
        return True
    told = b",".join(message.values(b"Alert-Info") + message.values(b"Call-Info")).lower()
    return b"answer-after=" in told or b"alert-autoanswer" in told or b"auto-answer" in told or b"ring-answer" in told


def _voicemail_target(uri: bytes) -> str:
    """RFC 4458 section 2: a voicemail URI names the box it stands for (`;target=sip%3A101%40pbx`)."""
    target = param(b";" + uri.partition(b";")[2], b"target")
    if target is None:
        return ""
    plain = unquote_to_bytes(target)
    return user(plain) or text(plain)
