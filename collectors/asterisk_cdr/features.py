"""Which features a call's rows are evidence of, and who used them. Pure.

Laws
- A feature is named only where a row shows it: by the application that ran last, by a context of FreePBX's own making, by
  the devices of a Dial, or by how two rows of one channel follow each other. What the CDR does not hold (hold, music on
  hold, call waiting) is left to other sources.
- Who used it: the one who acted (who dialled the IVR, retrieved, parked, picked up, transferred); for a mailbox its owner; for
  a group or queue the member who answered, since that seat has the feature, else the caller.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from collectors.asterisk_cdr.channel import local_name, rung
from collectors.asterisk_cdr.leg import AsteriskLeg
from collectors.records import FeatureUse

CALLER, MAILBOX, MEMBER, PARKER = "caller", "mailbox", "member", "parker"

APPS = {
    "BackGround": ("auto_attendant", CALLER),
    "WaitExten": ("auto_attendant", CALLER),
    "Read": ("auto_attendant", CALLER),
    "Directory": ("directory", CALLER),
    "ConfBridge": ("conference", CALLER),
    "MeetMe": ("conference", CALLER),
    "Queue": ("queue", MEMBER),
    "VoiceMail": ("voicemail_deposit", MAILBOX),
    "MiniVM": ("voicemail_deposit", MAILBOX),
    "VoiceMailMain": ("voicemail_retrieve", CALLER),
    "Park": ("park", PARKER),
    "ParkAndAnnounce": ("park", PARKER),
    "ParkedCall": ("park", CALLER),
    "Pickup": ("pickup", CALLER),
    "PickupChan": ("pickup", CALLER),
    "FollowMe": ("find_me_follow_me", CALLER),
    "SendFAX": ("fax", CALLER),
    "ReceiveFAX": ("fax", CALLER),
    "RxFAX": ("fax", CALLER),
    "TxFAX": ("fax", CALLER),
    "MixMonitor": ("recording", CALLER),
    "Monitor": ("recording", CALLER),
    "Page": ("paging", CALLER),
}
"""Names as Asterisk registers its applications, which is how `lastapp` has them."""

CONTEXTS = {
    "ext-group": ("ring_group", MEMBER),
    "ext-queues": ("queue", MEMBER),
    "ext-findmefollow": ("find_me_follow_me", MEMBER),
    "ext-meetme": ("conference", CALLER),
    "app-conferences": ("conference", CALLER),
    "app-pagegroups": ("paging", CALLER),
    "ext-intercom": ("intercom", CALLER),
    "ext-fax": ("fax", CALLER),
    "app-directory": ("directory", CALLER),
    "parkedcalls": ("park", CALLER),
}
"""Contexts that FreePBX generates; other dialplans name theirs as they like, and are judged by the applications."""

IVR_EXTENSIONS = frozenset({"t", "i"})
"""`t` (nothing was keyed in time) and `i` (an invalid choice) are where an IVR sends a caller."""

SAME_MOMENT_MS = 1000
"""Rows that follow each other in one instant may be stamped a second apart."""


class Transfer(Struct, frozen=True):
    """`before` is the row that it ended, `by` the endpoint who transferred."""

    code: str
    by: str
    at_ms: int
    before: AsteriskLeg


def used(rows: Sequence[AsteriskLeg], own: Sequence[AsteriskLeg], moves: Sequence[Transfer]) -> tuple[FeatureUse, ...]:
    """The uses, in the order of their time, each code and endpoint once with its count."""
    first: dict[tuple[str, str], int] = {}
    for row in rows:
        if not row.seen_from_b:
            for code, who in _shown(row):
                first.setdefault((code, _user(who, row, rows, own)), row.started_at_ms)
    for code, by, at_ms in _forwards(own):
        first.setdefault((code, by), at_ms)
    found = [FeatureUse(code=code, endpoint=by, at_ms=at_ms) for (code, by), at_ms in first.items()]
    for code, by in dict.fromkeys((move.code, move.by) for move in moves):
        times = sorted({move.at_ms for move in moves if (move.code, move.by) == (code, by)})
        found.append(FeatureUse(code=code, endpoint=by, at_ms=times[0], count=len(times)))
    return tuple(sorted(found, key=lambda use: (use.at_ms, use.code, use.endpoint)))


def _shown(row: AsteriskLeg) -> Iterator[tuple[str, str]]:
    """Codes, and by whom."""
    if row.lastapp in APPS and not (row.lastapp == "Park" and row.dstchannel):  # with a B it is the end of a parking
        yield APPS[row.lastapp]
    if row.dcontext in CONTEXTS:
        yield CONTEXTS[row.dcontext]
    if row.dcontext.startswith("ivr-") or row.dst in IVR_EXTENSIONS:
        yield "auto_attendant", CALLER
    if row.lastapp == "Dial" and "&" in row.lastdata.partition(",")[0] and row.dcontext != "ext-group":
        members = rung(row.lastdata)
        if row.dst in members or len(members) == 1:
            yield "simultaneous_ring", row.dst if row.dst in members else members[0]
        elif members:
            yield "ring_group", MEMBER


def _user(who: str, row: AsteriskLeg, rows: Sequence[AsteriskLeg], own: Sequence[AsteriskLeg]) -> str:
    caller = row.endpoint or own[0].endpoint or own[0].dst_endpoint
    if who == CALLER:
        return caller
    if who == MEMBER:
        return _member(row, rows) or caller
    if who == MAILBOX:
        return mailbox(row) or caller
    if who == PARKER:
        return _parker(row, rows) or caller
    return who


def _member(row: AsteriskLeg, rows: Sequence[AsteriskLeg]) -> str:
    """Who answered where this row's group or queue was called."""
    same = (other for other in rows if other.lastapp == row.lastapp and other.lastdata == row.lastdata)
    members = (device(other, rows) for other in same if other.disposition == "ANSWERED")
    return next((member for member in members if member), "")


def _parker(row: AsteriskLeg, rows: Sequence[AsteriskLeg]) -> str:
    """Who talked to the one who is parked, until then."""
    for before in rows:
        gap = row.started_at_ms - before.ended_at_ms
        if before.channel == row.channel and before.dst_endpoint and abs(gap) <= SAME_MOMENT_MS:
            return before.dst_endpoint
    return ""


def device(row: AsteriskLeg, rows: Sequence[AsteriskLeg]) -> str:
    """The endpoint that a row's B is; behind a Local channel (queues and ring groups of FreePBX) the one that its other
    half has called."""
    name = local_name(row.dstchannel)
    if row.dst_endpoint or not name:
        return row.dst_endpoint
    behind = (other for other in rows if local_name(other.channel) == name and other.disposition == "ANSWERED")
    return next((other.dst_endpoint for other in behind if other.dst_endpoint), "")


def mailbox(row: AsteriskLeg) -> str:
    """The first box of a VoiceMail's data: `107@default&108@default,u`, of old `u107`; else FreePBX's `vmu107`."""
    box = row.lastdata.partition(",")[0].partition("|")[0].partition("&")[0].partition("@")[0]
    return box.lstrip("ubs") if box.lstrip("ubs").isdigit() else row.dst.removeprefix("vm").lstrip("ubsi")


def _forwards(own: Sequence[AsteriskLeg]) -> Iterator[tuple[str, str, int]]:
    """A Dial of one phone that nobody answered, then in the same extension a Dial of another: the first one's forward."""
    dials = [row for row in own if row.lastapp == "Dial" and row.dst_endpoint and not row.trunk_out]
    for row in dials:
        code = {"NO ANSWER": "call_forward_no_answer", "BUSY": "call_forward_busy"}.get(row.disposition)
        if code and len(rung(row.lastdata)) == 1 and any(_replaces(later, row) for later in own):
            yield code, row.dst_endpoint, row.ended_at_ms


def _replaces(later: AsteriskLeg, row: AsteriskLeg) -> bool:
    return (
        later.lastapp == "Dial"
        and later.dst == row.dst
        and bool(later.dst_endpoint)
        and later.dst_endpoint != row.dst_endpoint
        and later.sequence != row.sequence
        and 0 <= later.started_at_ms - row.ended_at_ms <= SAME_MOMENT_MS
        and later.started_at_ms > row.started_at_ms
    )


def transfers(rows: Sequence[AsteriskLeg]) -> list[Transfer]:
    """A talks to B, and in the moment when that ends the one who stays goes on with C. It was attended where B had asked C
    before, or where C was never dialled for A (the application that A runs is still the one that called B); else blind."""
    found = []
    for before in rows:
        if before.disposition != "ANSWERED" or not before.dst_endpoint or before.lastapp in ("ConfBridge", "MeetMe"):
            continue
        for after in rows:
            by = _left(before, after, rows)
            if by:
                asked = _asked(before, after, rows)
                code = "transfer_attended" if asked or not _dialled_for(after) else "transfer_blind"
                found.append(Transfer(code, by, after.started_at_ms, before))
    return found


def _left(before: AsteriskLeg, after: AsteriskLeg, rows: Sequence[AsteriskLeg]) -> str:
    """Who went, when `after` followed on `before`; nothing where it did not, or where nobody went."""
    if after is before or after.dstchannel == before.dstchannel or after.lastapp in ("Hangup", "Park", "ConfBridge"):
        return ""
    if after.channel == before.channel:
        gone, by = before.dstchannel, before.dst_endpoint
    elif after.channel == before.dstchannel and after.dst_endpoint:
        gone, by = before.channel, before.endpoint
    else:
        return ""
    asked = _asked(before, after, rows)
    follows = abs(after.started_at_ms - before.ended_at_ms) <= SAME_MOMENT_MS
    follows_asking = asked is not None and abs(after.started_at_ms - asked.ended_at_ms) <= SAME_MOMENT_MS
    if not (follows or follows_asking) or after.started_at_ms < before.started_at_ms:
        return ""
    if not after.dst_endpoint and asked is None and after.dst == before.dst:
        return ""  # the dialplan went on after B had hung up
    stays = any(
        gone in (row.channel, row.dstchannel) and row.started_at_ms >= after.started_at_ms
        for row in rows
        if row is not after
    )
    return "" if stays else by


def _asked(before: AsteriskLeg, after: AsteriskLeg, rows: Sequence[AsteriskLeg]) -> AsteriskLeg | None:
    """The row in which B spoke to C, or to C's ringing phone, or to the application, while A waited."""
    by = before.dst_endpoint if after.channel == before.channel else before.endpoint
    for row in rows:
        other = row is not before and row is not after and row.endpoint == by and row.channel != after.channel
        same = row.dst_endpoint == after.dst_endpoint if after.dst_endpoint else row.lastapp == after.lastapp
        if other and same and row.started_at_ms <= after.started_at_ms:
            return row
    return None


def _dialled_for(after: AsteriskLeg) -> bool:
    return after.lastapp != "Dial" or after.dst_endpoint in rung(after.lastdata) or not rung(after.lastdata)
