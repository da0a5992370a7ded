"""Device classes: what kind of device a User-Agent, or what a contact says of itself, tells of. Pure.

Laws
- What the configuration says goes first, then what the contact says (push parameters, an IMEI), then the table.
- A User-Agent is looked at once; REMEMBERED answers are kept. What is longer than AGENT_MAX_CHARS is cut before.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache

from collectors.sip.address import split_outside_quotes, text
from collectors.sip.device_table import TABLE

AGENT_MAX_CHARS = 256
"""The longest User-Agents of real devices have about 120."""

REMEMBERED = 1_024
"""User-Agents of one site: model and firmware make a few dozen, where each names its MAC address as many as there are phones.
A flood of invented ones costs a search each, and no memory."""

_MOBILE_PARAMS = frozenset((b"pn-provider", b"pn-prid", b"pn-type", b"pn-tok", b"pn-param"))
"""RFC 8599 section 8.4, and what apps sent before it (pn-type and pn-tok: Linphone, Acrobits, Kazoo)."""

_MAC = re.compile(r"(?<![0-9A-Za-z])(?:SEP)?((?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}|[0-9A-Fa-f]{12})(?![0-9A-Za-z])")
"""A MAC address as phones put it into User-Agent or Contact, with Cisco's `SEP` before it or not."""


class Devices:
    """The table with the site's own patterns before it."""

    def __init__(self, own: Mapping[str, str] | None = None) -> None:
        self._own = _Patterns(own.items()) if own else None
        self.of_agent = lru_cache(REMEMBERED)(self._of_agent)
        """The class that a User-Agent (its first AGENT_MAX_CHARS) names, or nothing."""

    def of_contact(self, agent: bytes, mobile: bool) -> str:
        """The class of a device that registers: `mobile` is what its contact says."""
        own = self._own.find(_shown(agent)) if mobile and self._own else ""
        return own or ("mobile_app" if mobile else self.of_agent(agent[:AGENT_MAX_CHARS]))

    def _of_agent(self, agent: bytes) -> str:
        shown = _shown(agent)
        return (self._own.find(shown) if self._own else "") or _built_in().find(shown)


class _Patterns:
    """Patterns by the character that they begin with, as one regular expression each whose groups stand in their order; those
    that begin with `*` are in all of them. An expression is made when it is first needed: all of them take 50 ms."""

    def __init__(self, table: Iterable[tuple[str, str]]) -> None:
        self._pairs = [(name.lower(), kind) for name, kind in table if name]
        self._firsts = {name[0] for name, _ in self._pairs} - {"*"}
        self._buckets: dict[str, _Bucket] = {}

    def find(self, agent: str) -> str:
        agent = agent.lower()
        first = agent[:1] if agent[:1] in self._firsts else ""
        bucket = self._buckets.get(first)
        if bucket is None:
            bucket = self._buckets[first] = _Bucket(self._pairs, first)
        return bucket.find(agent)


class _Bucket:
    def __init__(self, pairs: list[tuple[str, str]], first: str) -> None:
        here = [(name, kind) for name, kind in pairs if name[0] in ("*", first)]
        self._classes = [kind for _, kind in here]
        self._match = re.compile("|".join(f"({_expression(name)})" for name, _ in here), re.DOTALL).fullmatch

    def find(self, agent: str) -> str:
        found = self._match(agent) if self._classes else None
        return self._classes[found.lastindex - 1] if found and found.lastindex else ""


def _expression(pattern: str) -> str:
    return ".*".join(map(re.escape, pattern.split("*")))


@cache
def _built_in() -> _Patterns:
    return _Patterns(TABLE)


def _shown(agent: bytes) -> str:
    return text(agent[:AGENT_MAX_CHARS].strip())


def says_mobile(uri: bytes, params: bytes) -> bool:
    """Whether a contact is that of a phone in somebody's pocket: it asks for push notifications (RFC 8599), or its instance is
    an IMEI (RFC 7255)."""
    told = uri + params
    if b"pn-" not in told and b"gsma:imei" not in told:
        return False
    names = {part.partition(b"=")[0].strip().lower() for part in split_outside_quotes(told, b";")}
    return not names.isdisjoint(_MOBILE_PARAMS) or b"urn:gsma:imei:" in params


def mac_address(*told: bytes) -> str:
    """The first MAC address in these texts, as 12 digits in lower case, or nothing. Twelve decimal digits that begin with
    20 are a build's date."""
    for value in told:
        for found in _MAC.finditer(text(value[:AGENT_MAX_CHARS])):
            digits = re.sub("[:-]", "", found[1]).lower()
            if not (digits.isdigit() and digits.startswith("20")):
                return digits
    return ""
