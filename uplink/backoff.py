"""When to try again: the waiting that survives a restart. Pure; times are milliseconds of the wall clock.

Laws
- A wait never grows beyond the upload interval, unless the platform itself asked for more (Retry-After).
- Never earlier than the platform asked; a little later, by chance, so that a fleet does not come back as one.
- A stored time further away than any wait can be comes from a clock that was wrong, and counts as now.
"""

from email.utils import parsedate_to_datetime

import msgspec
from msgspec import Struct

FIRST_MS = 2_000
"""Upper end of the first fast wait; each further failure doubles it."""
SHORTEST_MS = 1_000
"""Full jitter may draw zero; nobody is asked more than once a second."""
RETRY_AFTER_MAX_MS = 24 * 3_600_000
"""A Retry-After of years, from whatever proxy, must not silence a site."""
SPREAD = 0.1
"""How much later than asked, at most: a tenth."""


class Backoff(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of the last failures. `last` is the end of the batch whose answer is missing: it is sent again with
    the same cut. `renewed_at_ms`: when a conflict last began a new epoch."""

    failures: int = 0
    retry_at_ms: int = 0
    last: int = 0
    problem: str = ""
    detail: str = ""
    since_ms: int = 0
    renewed_at_ms: int = 0


def load(stored: bytes) -> Backoff:
    """What `dump` wrote; a fresh state where there is nothing or nothing readable."""
    try:
        return msgspec.json.decode(stored, type=Backoff)
    except msgspec.DecodeError:
        return Backoff()


def dump(state: Backoff) -> bytes:
    return msgspec.json.encode(state)


def cleared(state: Backoff) -> Backoff:
    """After an acknowledgement."""
    return Backoff(renewed_at_ms=state.renewed_at_ms)


def due_at_ms(state: Backoff, now_ms: int) -> int:
    """When the next attempt may be made; not later than any honest wait from `now_ms`."""
    far = now_ms + int(RETRY_AFTER_MAX_MS * (1 + SPREAD))
    return state.retry_at_ms if state.retry_at_ms <= far else now_ms


def fast_ms(failures: int, interval_ms: int, random: float) -> int:
    """Full jitter: anything up to twice the wait before, capped by the upload interval."""
    cap = min(interval_ms, FIRST_MS << min(failures, 30))
    return max(SHORTEST_MS, int(random * cap))


def slow_ms(_failures: int, interval_ms: int, random: float) -> int:
    """For what a person has to mend: half to one upload interval."""
    return max(SHORTEST_MS, int(interval_ms * (0.5 + 0.5 * random)))


def asked_ms(retry_after_ms: int, random: float) -> int:
    return max(SHORTEST_MS, int(min(retry_after_ms, RETRY_AFTER_MAX_MS) * (1 + SPREAD * random)))


def retry_after_ms(value: str, date: str, now_ms: int) -> int | None:
    """RFC 9110 section 10.2.3: seconds or a date. A date is measured from the answer's own Date, so that a wrong clock at
    the site does not matter. None where it is neither."""
    if value.isascii() and value.isdigit():
        return int(value[:12]) * 1000
    until_ms = date_ms(value)
    if until_ms is None:
        return None
    return max(0, until_ms - (date_ms(date) or now_ms))


def date_ms(text: str) -> int | None:
    """An HTTP date (RFC 9110 section 5.6.7); None where it is none."""
    try:
        return int(parsedate_to_datetime(text).timestamp() * 1000)
    except (ValueError, TypeError, OverflowError, OSError):
        return None
