"""A row of Master.csv as the ledger keeps it: the columns that joining needs, and the text itself.

Where the columns come from: Asterisk's documentation of cdr_csv and of the CDR specification (Asterisk 12 and later).
"""

from collectors.records import Leg


class AsteriskLeg(Leg, frozen=True, kw_only=True, gc=False):
    """`answered_at_ms` None: the channel was not up. `endpoint`/`dst_endpoint`: whose device the channel names, empty for
    a Local channel or none. `trunk_in`/`trunk_out`: the endpoint again, where it is one of the configured trunks.
    `seen_from_b`: a row of somebody else's call in a conference that also tells how long this call's own channel was in
    it (see `conference`); then `dstchannel` is this call's channel."""

    src: str
    dst: str
    dcontext: str
    channel: str
    dstchannel: str
    lastapp: str
    lastdata: str
    answered_at_ms: int | None
    billsec: int
    disposition: str
    uniqueid: str
    linkedid: str
    sequence: int
    endpoint: str
    dst_endpoint: str
    trunk_in: str = ""
    trunk_out: str = ""
    account: str = ""
    seen_from_b: bool = False
