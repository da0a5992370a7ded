"""The legs of one call -> the call. Pure, and the order of the legs does not matter.

Laws
- The caller is the oldest channel: the one whose unique id is the linked id. Its rows tell when the call was answered and how
  long it was connected: from its first answer to the end of its last answered row, whatever happened in between (ring
  group, queue, transfer, parking). Rows of other channels add who took part, never time.
- A Local channel is a piece of dialplan, nobody's phone: it is never a caller's or callee's device.
- A channel that is up is answered, whatever became of the Dial after it: an IVR that forwards to a busy phone was a call.
- What a CDR does not say is not guessed: there is no `cancelled` (a caller's giving up and a time-out are both NO ANSWER).

Stamps are cut to whole seconds, and `billsec` is cut from the exact span (main/cdr.c, cdr_object_get_billsec), so `billsec`
is the better witness for one row, and first answer to last end for several.
"""

from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter

from collectors.asterisk_cdr import features
from collectors.asterisk_cdr.channel import rung
from collectors.asterisk_cdr.conference import APPLICATIONS
from collectors.asterisk_cdr.leg import AsteriskLeg
from collectors.records import Call, Outcome, Party

PLACELESS = frozenset({"", "s", "h", "t", "i", "T", "o", "a", "fax"})
"""Extensions that nobody dials: Asterisk's own (start, hang-up, time-out, invalid, ...)."""

_order = attrgetter("started_at_ms", "sequence", "key")


def join(legs: Sequence[AsteriskLeg]) -> Call:
    """The call that all legs known under one key make. At least one leg."""
    if len(legs) == 1:
        return _of_one(legs[0])
    rows = sorted(legs, key=_order)
    own, seen_from_b = _own(rows)
    answered = [row for row in own if is_up(row)]
    first = own[0]
    talk_ms, answered_at = _talk(answered, seen_from_b) if answered else (0, None)
    moves = features.transfers(rows)
    return Call(
        key=first.call_key,
        started_at_ms=min(row.started_at_ms for row in own),
        answered_at_ms=answered_at,
        ended_at_ms=max(row.ended_at_ms for row in rows),
        talk_ms=talk_ms,
        outcome="answered" if answered else _outcome(own),
        caller=_caller(first),
        dialled=_dialled(own, moves),
        answered_by=_answered_by(answered, rows),
        offered=_offered(rows, first),
        trunk_in=first.trunk_in,
        trunk_out=_trunk_out(rows),
        features=features.used(rows, own, moves),
        legs=len(rows),
    )


def _of_one(leg: AsteriskLeg) -> Call:
    """What `join` gives for one leg, without the lists: most calls are one row."""
    up = is_up(leg)
    devices = rung(leg.lastdata) if leg.lastapp == "Dial" else ()
    plain = (
        len(devices) == 1 and devices[0] == leg.dst_endpoint and leg.dst not in PLACELESS and "&" not in leg.lastdata
    )
    plain = plain and leg.dcontext not in features.CONTEXTS and leg.dcontext[:4] != "ivr-"
    if not up:
        answered_by = None
    elif plain and leg.disposition == "ANSWERED" and leg.dstchannel:
        answered_by = _picked_up(leg, leg.dst_endpoint)
    else:
        answered_by = _answered_by((leg,), (leg,))
    return Call(
        key=leg.call_key,
        started_at_ms=leg.started_at_ms,
        answered_at_ms=leg.answered_at_ms if up else None,
        ended_at_ms=leg.ended_at_ms,
        talk_ms=_billed_ms(leg) if up else 0,
        outcome="answered" if up else _OUTCOMES[leg.disposition],
        caller=_caller(leg),
        dialled=leg.dst if plain else _dialled((leg,), ()),
        answered_by=answered_by,
        offered=devices if plain else _offered((leg,), leg),
        trunk_in=leg.trunk_in,
        trunk_out=leg.trunk_out,
        features=() if plain else features.used((leg,), (leg,), ()),
    )


def is_up(leg: AsteriskLeg) -> bool:
    """Was the channel connected? Rows of a Dial in vain have an answer too, where something had answered before."""
    return leg.answered_at_ms is not None and (leg.disposition == "ANSWERED" or leg.billsec > 0)


def _own(rows: list[AsteriskLeg]) -> tuple[list[AsteriskLeg], list[AsteriskLeg]]:
    """The rows of the oldest channel, and those of others that tell of it (in a conference). Where the oldest channel has
    no row, the first channel that is somebody's device must do."""
    own = [row for row in rows if not row.seen_from_b]
    if not own:
        return rows, []
    oldest = next((row for row in own if row.uniqueid and row.uniqueid == row.linkedid), None)
    first = oldest or next((row for row in own if row.endpoint), own[0])
    mine = [row for row in own if (row.uniqueid == first.uniqueid if first.uniqueid else row.channel == first.channel)]
    return mine, [row for row in rows if row.seen_from_b and row.dstchannel == first.channel]


def _talk(answered: list[AsteriskLeg], seen_from_b: list[AsteriskLeg]) -> tuple[int, int]:
    """Milliseconds from the first answer to the end of the last answered row, and that answer."""
    spans: list[AsteriskLeg] = []
    for row in sorted(answered, key=lambda row: (row.answered_at_ms or 0, -row.ended_at_ms, -row.billsec)):
        if not spans or row.ended_at_ms > spans[-1].ended_at_ms:
            spans.append(row)
    answered_at = spans[0].answered_at_ms or 0
    if len(spans) == 1 and not seen_from_b:
        return _billed_ms(spans[0]), answered_at
    stamped = max(row.ended_at_ms for row in (*spans, *seen_from_b)) - answered_at
    return (stamped if seen_from_b else min(stamped, _most(spans))), answered_at


def _most(spans: list[AsteriskLeg]) -> int:
    """What the seconds of consecutive rows allow at most: each may have lost a fraction of a second, each gap may be one
    longer than stamped. No limit where rows overlap."""
    most = spans[0].billsec * 1000
    for row, following in pairwise(spans):
        gap = (following.answered_at_ms or 0) - row.ended_at_ms
        if gap < 0:
            return sum(row.ended_at_ms - (row.answered_at_ms or 0) for row in spans)
        most += 1000 + following.billsec * 1000 + (gap + 1000 if gap else 0)
    return most


def _billed_ms(leg: AsteriskLeg) -> int:
    """`billsec`, unless the stamps say otherwise by more than rounding (`initiatedseconds`) can."""
    stamped = leg.ended_at_ms - (leg.answered_at_ms or 0)
    billed = leg.billsec * 1000
    return billed if abs(stamped - billed) <= 1000 or stamped < 0 else stamped


_OUTCOMES: dict[str, Outcome] = {
    "NO ANSWER": "no_answer",
    "ANSWERED": "no_answer",
    "BUSY": "busy",
    "FAILED": "failed",
    "CONGESTION": "failed",
}


def _outcome(own: list[AsteriskLeg]) -> Outcome:
    """As the last Dial came out: of phones that rang together one that rang is no answer, else one that was busy is busy
    (apps/app_dial.c sets DIALSTATUS so)."""
    attempts = [row for row in own if row.dstchannel] or own
    last = max(row.started_at_ms for row in attempts)
    outcomes = {_OUTCOMES[row.disposition] for row in attempts if row.started_at_ms == last or row.ended_at_ms > last}
    return next(outcome for outcome in _WEIGHT if outcome in outcomes)


_WEIGHT: tuple[Outcome, ...] = ("no_answer", "busy", "failed")


def _caller(first: AsteriskLeg) -> Party:
    return Party("", first.dst_endpoint) if first.seen_from_b else Party(first.src, first.endpoint)


def _dialled(own: Sequence[AsteriskLeg], moves: Sequence[features.Transfer]) -> str:
    """What the first row was called by. A transfer may have overwritten that with its own target: then the phone that was
    rung. Where it is only one of the dialplan's own extensions, what else is known."""
    first = own[0]
    if any(move.before is first for move in moves) and first.lastapp == "Dial":
        devices = rung(first.lastdata)
        if len(devices) == 1 and devices[0].isdigit():
            return devices[0]
    named = next((row.dst for row in own if row.dst not in PLACELESS and not _is_voicemail(row.dst)), "")
    boxed = next((features.mailbox(row) for row in own if _is_voicemail(row.dst)), "")
    rang = next((rung(row.lastdata)[0] for row in own if row.lastapp == "Dial" and rung(row.lastdata)), "")
    return named or boxed or rang or first.dst


def _is_voicemail(dst: str) -> bool:
    """FreePBX's extensions for a mailbox: `vmu101` (unavailable), `vmb` (busy), `vms` (no greeting), `vmi`."""
    return dst[:2] == "vm" and dst[2:3] in ("u", "b", "s", "i") and dst[3:].isdigit()


def _answered_by(answered: Sequence[AsteriskLeg], rows: Sequence[AsteriskLeg]) -> Party | None:
    """Who picked up first; with no device where an application did (voicemail, IVR, conference)."""
    if not answered:
        return None
    by_time = sorted(answered, key=lambda row: row.answered_at_ms or 0) if len(answered) > 1 else answered
    for row in by_time:
        if row.disposition == "ANSWERED" and row.dstchannel and row.lastapp not in APPLICATIONS:
            device = features.device(row, rows)
            if device:
                return _picked_up(row, device)
    return Party(by_time[0].dst, "")


def _picked_up(row: AsteriskLeg, device: str) -> Party:
    return Party(device if device.isdigit() else row.dst, device)


def _offered(rows: Sequence[AsteriskLeg], first: AsteriskLeg) -> tuple[str, ...]:
    """All who were rung or took part. Others in a conference are calls of their own."""
    found: dict[str, None] = {}
    for row in rows:
        if row.lastapp in APPLICATIONS or row.seen_from_b:
            continue
        if row.endpoint and row.endpoint != first.endpoint:
            found[row.endpoint] = None
        if row.lastapp == "Dial":
            found.update(dict.fromkeys(rung(row.lastdata)))
        if row.dst_endpoint:
            found[row.dst_endpoint] = None
    return tuple(found)


def _trunk_out(rows: Sequence[AsteriskLeg]) -> str:
    """The trunk that answered, else the first that was tried."""
    trunks = [row for row in rows if row.trunk_out]
    return next((row.trunk_out for row in (*filter(is_up, trunks), *trunks)), "")
