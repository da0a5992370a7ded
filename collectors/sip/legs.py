"""The legs that a call is handed in as: its dialogs and their branches, as records. Pure."""

from collections.abc import Callable
from hashlib import blake2b

from collectors.records import FeatureUse, MediaFlow, Outcome
from collectors.sip.address import text
from collectors.sip.leg import SipLeg
from collectors.sip.site import Site, service, trunk
from collectors.sip.state import Dialog, Fork, Group

OUTCOMES: dict[int, Outcome] = {
    486: "busy",
    600: "busy",
    487: "cancelled",
    408: "no_answer",
    480: "no_answer",
    0: "no_answer",
}
"""By final status (RFC 3261 section 21); every other one is a failure. 0: no final answer was heard."""


Media = Callable[[int], tuple[MediaFlow, ...]]
"""What gives the flows of a dialog, by its serial number."""


def legs_of(group: Group, site: Site, media: Media | None = None) -> list[SipLeg]:
    """All legs of a call, in the order in which they began. The call's key is that of its first leg. `media`:
    what of a dialog's media was heard."""
    call_key = leg_key(group.dialogs[0])
    legs: list[SipLeg] = []
    for dialog in group.dialogs:
        key = leg_key(dialog) if legs else call_key
        legs.append(_leg(dialog, key, call_key, len(legs), site, media(dialog.serial) if media else ()))
        for fork in dialog.forks:
            legs.append(_branch(dialog, fork, call_key, len(legs)))
    return legs


def leg_key(dialog: Dialog, to_tag: bytes = b"") -> str:
    """From what names the dialog on the wire and when it began: the same packets give the same key again."""
    parts = (
        dialog.call_id,
        dialog.from_tag,
        dialog.first_cseq,
        dialog.src.encode(),
        dialog.dst.encode(),
        b"%d" % dialog.started_us,
        to_tag,
    )
    return blake2b(b"\0".join(parts), digest_size=16).hexdigest()


def outcome_of(dialog: Dialog) -> Outcome:
    if dialog.answered_us:
        return "answered"
    if dialog.cancelled_us:
        return "cancelled"
    return OUTCOMES.get(dialog.status, "failed")


def _ms(at_us: int) -> int | None:
    return at_us // 1000 if at_us else None


def _leg(dialog: Dialog, key: str, call_key: str, index: int, site: Site, media: tuple[MediaFlow, ...]) -> SipLeg:
    return SipLeg(
        text(dialog.call_id),
        text(dialog.from_tag),
        text(dialog.to_tag),
        dialog.transport,
        dialog.src,
        dialog.dst,
        index,
        dialog.side,
        dialog.caller,
        dialog.dialled,
        dialog.callee,
        dialog.contact,
        False,
        _ms(dialog.ringing_us),
        _ms(dialog.answered_us),
        outcome_of(dialog),
        dialog.ending,
        dialog.status,
        dialog.reason,
        dialog.hung_up_by,
        dialog.user_agent,
        trunk(site, dialog.src) if site.trunks else "",
        trunk(site, dialog.dst) if site.trunks else "",
        tuple(_features(dialog, site)) if _shows_any(dialog, site) else (),
        key=key,
        call_key=call_key,
        started_at_ms=dialog.started_us // 1000,
        ended_at_ms=dialog.ended_us // 1000,
        cause=dialog.cause,
        private=dialog.private,
        partial=dialog.partial,
        attestation=dialog.attestation,
        media=media,
    )


def _branch(dialog: Dialog, fork: Fork, call_key: str, index: int) -> SipLeg:
    """A further early dialog: it ended when the whole INVITE was decided, or by a BYE of its own."""
    decided_us = dialog.answered_us or dialog.ended_us
    ended_us = fork.ended_us or max(decided_us, fork.answered_us, fork.ringing_us)
    return SipLeg(
        key=leg_key(dialog, fork.to_tag),
        call_key=call_key,
        started_at_ms=dialog.started_us // 1000,
        ended_at_ms=ended_us // 1000,
        call_id=text(dialog.call_id),
        from_tag=text(dialog.from_tag),
        to_tag=text(fork.to_tag),
        transport=dialog.transport,
        src=dialog.src,
        dst=dialog.dst,
        index=index,
        side="callee",
        caller=dialog.caller,
        dialled=dialog.dialled,
        callee=fork.callee or dialog.callee,
        contact=fork.callee,
        forked=True,
        ringing_at_ms=_ms(fork.ringing_us),
        answered_at_ms=_ms(fork.answered_us),
        outcome="answered" if fork.answered_us else "cancelled",
        ending=dialog.ending,
        status=200 if fork.answered_us else 0,
    )


def _shows_any(dialog: Dialog, site: Site) -> bool:
    return bool(dialog.features) or dialog.side == "pickup" or service(site, dialog.dialled) != ""


def _features(dialog: Dialog, site: Site) -> list[FeatureUse]:
    """What was seen of the dialog, and what the configuration says of the number that answered."""
    party = dialog.callee if dialog.side == "callee" else dialog.caller
    uses: list[FeatureUse] = []
    diverted = ""
    for use in dialog.features:
        if use.code == "encrypted_call":
            if any(known.code == use.code for known in uses):
                continue
            use = FeatureUse(code=use.code, endpoint=party, at_ms=use.at_ms)
        if use.code.startswith("call_forward_"):
            diverted = use.endpoint
        uses.append(use)
    uses.extend(_service(dialog, site, diverted))
    if dialog.side == "pickup" and dialog.answered_us:
        uses.append(FeatureUse(code="pickup", endpoint=dialog.caller, at_ms=dialog.answered_us // 1000))
    return uses


def _service(dialog: Dialog, site: Site, diverted: str) -> list[FeatureUse]:
    """The service behind the number dialled. A call that was diverted to a mailbox leaves a message in the box of whoever
    diverted it; one that was dialled asks for messages."""
    code = service(site, dialog.dialled)
    if not code or not dialog.answered_us:
        return []
    if code == "voicemail_retrieve" and diverted:
        code = "voicemail_deposit"
    endpoint = diverted if code == "voicemail_deposit" and diverted else dialog.caller
    return [FeatureUse(code=code, endpoint=endpoint, at_ms=dialog.answered_us // 1000)]
