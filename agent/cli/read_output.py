"""What `pegcount read` prints: a table for a person, or one JSON object a line.

Laws
- A line is printed when it is known; nothing is held back, so a file may be of any length.
- In JSON the fields are the records' own, and `kind` says which record it is; times are milliseconds since 1970, UTC.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, tzinfo
from typing import Any

import msgspec
from msgspec import structs

from agent.cli.common import printable
from agent.ledger.preview import Finding
from agent.metering.media import pages, quality
from agent.web import words
from agent.web.page import plain
from collectors.records import Call, FeatureUse, Party, Registration, Reject, Risk
from uplink.events import MicroTransaction

KINDS: dict[type, str] = {
    Call: "call",
    Registration: "registration",
    FeatureUse: "feature_use",
    Risk: "risk",
    Reject: "reject",
    MicroTransaction: "event",
}
TELLING = ("feature", "class", "level")
"""What of an event's data a person needs to tell it from the next one."""
COLUMNS = "{:19}  {:12}  {:28}  {}"


class Counts:
    """How many of each kind there were."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(KINDS.values(), 0)

    def counted(self, found: Iterable[Finding]) -> Iterator[Finding]:
        for one in found:
            self._counts[KINDS[type(one)]] += 1
            yield one

    @property
    def rejects(self) -> int:
        return self._counts["reject"]

    def summary(self) -> str:
        """`3 calls, 9 micro-transactions, 1 reject`."""
        parts = [words.counted(self._counts["call"], "call")]
        for kind, name in (("registration", "registration"), ("feature_use", "feature use"), ("risk", "risk")):
            if self._counts[kind]:
                parts.append(words.counted(self._counts[kind], name))
        parts.append(words.counted(self._counts["event"], "micro-transaction"))
        parts.append(words.counted(self.rejects, "reject"))
        return ", ".join(parts)


def json_lines(found: Iterable[Finding], source: str, timezone: str) -> Iterator[str]:
    for one in found:
        fields: dict[str, Any] = msgspec.to_builtins(one, builtin_types=(bytes,))
        if isinstance(one, Reject):
            fields["excerpt"] = one.excerpt.decode("utf-8", "backslashreplace")
        elif isinstance(one, Call):
            fields["media"] = [structs.asdict(flow) for flow in one.media]  # they are stored as arrays
        yield msgspec.json.encode({"kind": KINDS[type(one)], "source": source, **fields}).decode()


def table_lines(found: Iterable[Finding], source: str, timezone: str) -> Iterator[str]:
    zone = words.zone_of(timezone)
    yield COLUMNS.format(f"TIME {timezone}", "KIND", "WHO", "WHAT").rstrip()
    for one in found:
        who, what = _ROWS[type(one)](one)
        yield printable(COLUMNS.format(_time(one, zone), KINDS[type(one)], who, what)).rstrip()


def _time(one: Finding, zone: tzinfo) -> str:
    at_ms = getattr(one, _TIMES[type(one)])
    return f"{datetime.fromtimestamp(at_ms / 1000, zone):%Y-%m-%d %H:%M:%S}" if at_ms else "-"


_TIMES: dict[type, str] = {
    Call: "started_at_ms",
    Registration: "at_ms",
    FeatureUse: "at_ms",
    Risk: "at_ms",
    Reject: "at_ms",
    MicroTransaction: "time_ms",
}


def _call(one: Call) -> tuple[str, str]:
    answered = f", {words.talk(one.talk_ms)}" if one.answered_at_ms is not None else ""
    legs = f", {one.legs} legs" if one.legs > 1 else ""
    ending = f", end {one.ending}" if one.ending != "confirmed" else ""
    what = f"{plain(one.outcome).lower()}{answered}{legs}{ending}{_signalled(one)}{_heard(one)}"
    return f"{_party(one.caller)} -> {one.dialled or '?'}", what


def _signalled(one: Call) -> str:
    """What only signalling tells: status of a call that failed, Q.850 cause, post-dial delay, attestation, privacy."""
    parts = (
        f"status {one.status}" if one.status >= 300 else "",
        f"cause {one.cause}" if one.cause else "",
        f"PDD {one.post_dial_ms / 1000:.1f} s" if one.post_dial_ms is not None else "",
        f"attested {one.attestation}" if one.attestation else "",
        "beginning not heard" if one.partial else "",
        "number withheld" if one.private else "",
    )
    return "".join(f", {part}" for part in parts if part)


def _heard(one: Call) -> str:
    """What the media tells: codec, MOS, loss, key presses, pages."""
    told = quality(one)
    parts = (
        str(told.get("codec", "")),
        f"MOS {told['mos']}" if "mos" in told else "",
        f"{told['loss_percent']} % lost" if told.get("loss_percent", "0.00") != "0.00" else "",
        f"{told['digits']} keys pressed" if "digits" in told else "",
        f"{count} pages" if (count := pages(one)) else "",
    )
    return "".join(f", {part}" for part in parts if part)


def _party(party: Party) -> str:
    return party.number or party.endpoint or "?"


def _registration(one: Registration) -> tuple[str, str]:
    device = f" ({plain(one.device).lower()})" if one.device else ""
    return one.endpoint, f"{one.state} {one.contact}{device}"


def _feature_use(one: FeatureUse) -> tuple[str, str]:
    return one.endpoint, one.code


def _risk(one: Risk) -> tuple[str, str]:
    about = f" {one.endpoint}" if one.endpoint else ""
    detail = f" ({one.detail})" if one.detail else ""
    return one.origin, f"{one.code}{about} {words.counted(one.count, 'time')}{detail}"


def _reject(one: Reject) -> tuple[str, str]:
    return one.position, f"{one.reason}: {one.message}"


def _event(one: MicroTransaction) -> tuple[str, str]:
    corrects = " (correction)" if one.corrects else ""
    what = " ".join(str(one.data[key]) for key in TELLING if one.data.get(key))
    return one.subject, f"{one.meter} {one.quantity} {one.unit}{' ' if what else ''}{what}{corrects}"


_ROWS: dict[type, Callable[[Any], tuple[str, str]]] = {
    Call: _call,
    Registration: _registration,
    FeatureUse: _feature_use,
    Risk: _risk,
    Reject: _reject,
    MicroTransaction: _event,
}
