"""A leg as SIP tells it: one INVITE dialog on one hop."""

from typing import Literal

from collectors.records import Ending, FeatureUse, Leg, MediaFlow, Outcome
from collectors.sip.identity import Attestation

HungUpBy = Literal["caller", "callee", ""]

Side = Literal["caller", "callee", "pickup", "recording"]
"""Whose leg it is. `caller`: the caller's own, from the phone (or trunk) that placed the call; `callee`: one that was
made to reach somebody; `pickup`: somebody took the call over by an INVITE of their own (Replaces). `recording`: a
recording session (SIPREC), which is followed and never handed in."""


class SipLeg(Leg, frozen=True, gc=False):
    """One dialog of an INVITE between two addresses, from its first INVITE to its end.

    `index` is its place among the legs of its call, in the order in which they began. `caller` is the user part of From
    (or of the asserted identity where From is anonymous), `dialled` that of the Request-URI, `callee` the endpoint that
    the leg was to reach: the address of record of the contact it was sent to where a registration told it, else
    `dialled`. `contact` is the user part of the Contact of who answered. `forked`: a further branch of the leg before it,
    known by its To tag alone. `status` is the final status code, 0 where none was heard; `cause` the Q.850 cause that a Reason
    header gave, 0 where none did. `partial`: it was up before
    the capture began. `private`: the caller asked that the number be withheld (RFC 3323).
    """

    call_id: str
    from_tag: str
    to_tag: str
    transport: str
    src: str
    dst: str
    index: int
    side: Side
    caller: str
    dialled: str
    callee: str
    contact: str
    forked: bool
    ringing_at_ms: int | None
    answered_at_ms: int | None
    outcome: Outcome
    ending: Ending
    status: int
    reason: str = ""
    hung_up_by: HungUpBy = ""
    user_agent: str = ""
    trunk_in: str = ""
    trunk_out: str = ""
    features: tuple[FeatureUse, ...] = ()
    cause: int = 0
    private: bool = False
    partial: bool = False
    attestation: Attestation = ""
    media: tuple[MediaFlow, ...] = ()
