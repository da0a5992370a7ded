"""Figures, spans and instants as operators read them. Pure; instants are UTC, as the platform's days are; 0 means `never`."""

from datetime import UTC, datetime

from uplink.pages import words
from uplink.pages.words import coarse

RIGHT_MS = 2000
"""A head tells whole seconds, and takes as long to come."""


def clock(at_ms: int, now_ms: int) -> str:
    return words.clock(at_ms, now_ms, UTC)


def iso(at_ms: int) -> str:
    return words.iso(at_ms, UTC)


def ago(at_ms: int, now_ms: int) -> str:
    """`12 s ago`, `now`, `never`."""
    if not at_ms:
        return words.NEVER
    return f"{coarse(now_ms - at_ms)} ago" if now_ms - at_ms >= 1000 else "now"


def day_of(at_ms: int) -> str:
    return f"{words.local(at_ms, UTC):%Y-%m-%d}"


def is_day(text: str) -> bool:
    """Of a century in which this can have happened: there is a day before it, and one after."""
    try:
        return datetime.fromisoformat(text).date().isoformat() == text and "1970" < text < "2970"
    except ValueError:
        return False


def day(text: str) -> str:
    """`2026-11-20` -> `Friday, 20 November 2026`."""
    at = datetime.fromisoformat(text)
    return f"{at:%A}, {at.day} {at:%B %Y}"


def skew_said(value_ms: int) -> str:
    """The same in words: `2 h 3 min ahead`."""
    if abs(value_ms) <= RIGHT_MS:
        return "right"
    return f"{coarse(abs(value_ms))} {'ahead' if value_ms > 0 else 'behind'}"


def skew(value_ms: int) -> str:
    """A clock beside the platform's: `right` within two seconds (a head tells whole ones), `+5 min`, `−27 h`."""
    if abs(value_ms) <= RIGHT_MS:
        return "right"
    return f"{'+' if value_ms > 0 else '−'}{coarse(abs(value_ms))}"
