"""How is a site? Pure: what the platform knows of it, and the time -> findings, the gravest first, and one verdict in words.

Laws
- Nothing is judged that was not told or stored: an agent that says nothing of itself is judged by silence and gaps alone.
- A clock is judged and never corrected; silence is measured on the platform's clock only.
- The same knowledge and time give the same verdict.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from uplink.pages.words import coarse, counted
from uplink.receiver.seen import Seen

INTERVAL_S = 900
"""How often an agent reports that does not say it: the agent's own default."""
INTERVAL_MAX_S = 86_400
"""However seldom an agent says that it reports: by a word of its own it must not be silent unnoticed."""
SILENT_INTERVALS = 3
"""One upload may be lost and the next be late by its jitter; three are none."""
SILENT_LEAST_MS = 60_000
"""Of an agent that streams: nobody need be told of less."""
GONE_MS = 86_400_000
"""After a day of silence a billing day is missing."""

Health = Literal["broken", "attention", "unheard", "ok"]
HEALTHS: tuple[Health, ...] = ("broken", "attention", "unheard", "ok")
"""The worst first."""
Severity = Literal["error", "warning", "notice"]
REASONS = {
    "silent": "Silent",
    "backlog": "Behind",
    "gap": "Gap",
    "conflict": "Conflict",
    "cut": "Shorter ledger",
    "lost": "Lost events",
    "clock": "Wrong clock",
    "policy": "Policy refused",
    "problems": "Problems",
    "break": "Numbering anew",
    "version": "Older version",
}
"""Codes of findings, and how they are called where sites are chosen by them."""
_HEALTH_OF: dict[Severity, Health] = {"error": "broken", "warning": "attention", "notice": "ok"}
_RANK: dict[Severity, int] = {"error": 0, "warning": 1, "notice": 2}


class Known(Struct, frozen=True, kw_only=True, gc=False):
    """What the platform knows of a site. `name` is the operators' word for it. `seen`: None where it was enrolled and
    never heard. `breaks`: epochs that do not continue what came before; `lost`: events that neither end
    holds any more."""

    site: str
    name: str = ""
    seen: Seen | None = None
    breaks: int = 0
    lost: int = 0


class Finding(Struct, frozen=True, gc=False):
    """`since_ms`: 0 where that is not known."""

    code: str
    severity: Severity
    text: str
    since_ms: int = 0


class Verdict(Struct, frozen=True, gc=False):
    health: Health
    text: str
    findings: tuple[Finding, ...] = ()


def judge(known: Known, now_ms: int, newest: str = "") -> Verdict:
    """`newest`: the newest version that any agent of the fleet has."""
    if known.seen is None:
        return Verdict("unheard", "Enrolled, and never heard since.")
    findings = sorted(_findings(known, known.seen, now_ms, newest), key=lambda each: _RANK[each.severity])
    if not findings:
        return Verdict("ok", "All is well.")
    more = f" Also: {', '.join(REASONS[each.code].lower() for each in findings[1:])}." if len(findings) > 1 else ""
    return Verdict(_HEALTH_OF[findings[0].severity], findings[0].text + more, tuple(findings))


def _findings(known: Known, seen: Seen, now_ms: int, newest: str) -> Iterator[Finding]:
    yield from _silence(seen, now_ms)
    yield from _refusal(seen)
    yield from _told(seen)
    if seen.has_wrong_clock():
        way = "ahead" if seen.skew_ms > 0 else "behind"
        yield Finding("clock", "warning", f"Its clock is {coarse(abs(seen.skew_ms))} {way}.", seen.wrong_since_ms)
    if seen.cut:
        text = f"Its ledger ended {counted(seen.cut, 'event')} further on before: they are no longer there."
        yield Finding("cut", "error", text)
    if known.lost:
        yield Finding(
            "lost", "warning", f"{counted(known.lost, 'event')} neither the platform nor the site holds any more."
        )
    if known.breaks:
        what = counted(known.breaks, "time")
        yield Finding("break", "notice", f"Its numbering began anew {what} without showing what came before.")
    version = seen.status.version if seen.status else ""
    if version and version_key(version) < version_key(newest):
        yield Finding("version", "notice", f"Version {version}; others of the fleet have {newest}.")


def interval_ms(seen: Seen) -> int:
    told_s = seen.status.interval_s if seen.status else 0
    return 1000 * (min(told_s, INTERVAL_MAX_S) if told_s > 0 else INTERVAL_S)


def _silence(seen: Seen, now_ms: int) -> Iterator[Finding]:
    silent_ms = now_ms - seen.seen_ms
    if silent_ms > max(SILENT_INTERVALS * interval_ms(seen), GONE_MS):
        yield Finding("silent", "error", f"Silent for {coarse(silent_ms)}.", seen.seen_ms)
    elif silent_ms > max(SILENT_INTERVALS * interval_ms(seen), SILENT_LEAST_MS):
        yield Finding("silent", "warning", f"Silent for {coarse(silent_ms)}.", seen.seen_ms)


_REFUSALS = {
    "conflict": "It shows another history than the platform holds: its ledger went back in time, or has a twin.",
    "gap": "It sends events behind some that never came.",
}


def oldest_ms(seen: Seen) -> int:
    """When the oldest event that is not acknowledged was recorded, by the platform's clock; 0: not told."""
    told = seen.status.oldest_s if seen.status and seen.status.backlog > 0 else 0
    return told * 1000 - seen.skew_ms if told else 0


def _refusal(seen: Seen) -> Iterator[Finding]:
    if seen.refused:
        yield Finding(seen.refused, "error", _REFUSALS[seen.refused], seen.refused_since_ms)


def _told(seen: Seen) -> Iterator[Finding]:
    """What the agent said of itself."""
    status = seen.status
    if status is None:
        return
    # Both by the site's clock, so that a wrong one makes no backlog old.
    waits_ms = seen.seen_ms + seen.skew_ms - status.oldest_s * 1000
    if status.backlog > 0 and status.oldest_s and waits_ms > SILENT_INTERVALS * interval_ms(seen):
        text = f"{counted(status.backlog, 'event')} not acknowledged, the oldest for {coarse(waits_ms)}."
        yield Finding("backlog", "warning", text, oldest_ms(seen))
    if status.problems:
        yield Finding("problems", "warning", f"The agent tells of {', '.join(map(plain, status.problems))}.")
    if status.policy_outcome.startswith("refused"):
        yield Finding("policy", "warning", f"The agent did not take its policy: {status.policy_outcome}.")


def plain(code: str) -> str:
    """`dns_gone` -> `dns gone`."""
    return code.replace("_", " ")


@lru_cache(maxsize=1000)
def version_key(version: str) -> tuple[int, ...]:
    """In which order versions came: the numbers before the first other word (a pre-release counts as its release)."""
    release = re.match(r"\d{1,9}(?:\.\d{1,9})*", version)
    return tuple(map(int, release[0].split("."))) if release else ()


def newest_version(versions: Iterable[str]) -> str:
    return max(versions, key=version_key, default="")
