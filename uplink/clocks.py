"""How far this machine's clock is from the platform's, by what the platform's answers say of theirs. Pure.

Laws
- It is told, never used to correct a time: what is stored and sent is what this machine's clock showed.
- Only an answer in the contract's own form counts: the clock of a proxy or a portal on the way is nobody's business.
"""

from uplink.backoff import date_ms
from uplink.session import Answer, Failure

WRONG_MS = 300_000
"""As in Kerberos (RFC 4120 section 5.3.2); a call may fall on the wrong side of an hour. Answers take a minute at most, a clock
without synchronisation gains or loses as much in a month or two."""
_CONTRACT = ("application/json", "application/problem+json")


def offset_ms(outcome: Answer | Failure, now_ms: int) -> int | None:
    """This machine's clock minus the platform's; None where the answer does not tell."""
    if isinstance(outcome, Failure) or not outcome.content_type.startswith(_CONTRACT):
        return None
    theirs_ms = date_ms(outcome.date)
    return None if theirs_ms is None else now_ms - theirs_ms


def in_words(offset_ms: int) -> str:
    """Such as: this machine's clock is 27 h 3 min ahead of the platform's."""
    minutes = round(abs(offset_ms) / 60_000)
    span = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    return f"this machine's clock is {span} {'ahead of' if offset_ms > 0 else 'behind'} the platform's"
