"""The status page's HTML from a snapshot. Pure: the same snapshot and time give the same text.

Everything that comes from the phone system is text to the template, never markup (autoescape is on for all of it).
"""

from functools import cache
from typing import Any

from jinja2 import Environment
from markupsafe import Markup
from msgspec import Struct

from agent.ledger.snapshot import Snapshot, TodayView, UplinkView
from agent.web import words
from agent.web.charts import share
from uplink.pages import charts
from uplink.pages.templates import environment

HEALTH_WORDS = {"ok": "Healthy", "attention": "Needs attention", "broken": "Broken", "stopped": "Not running"}
SEVERITY_WORDS = {"notice": "Notice", "warning": "Warning", "error": "Error"}
STATE_WORDS = {
    "running": "Running",
    "waiting": "Waiting",
    "failed": "Failed",
    "ended": "Ended",
    "stopped": "Stopped",
}
OUTCOME_WORDS = {
    "answered": "Answered",
    "no_answer": "No answer",
    "busy": "Busy",
    "cancelled": "Cancelled",
    "failed": "Failed",
}
SEATS_SHOWN = 200
"""More rows than this make the page slow on a phone; `/api/status` has more of them."""


class UploadOutcome(Struct, frozen=True):
    """How an upload that was asked for came out, in words."""

    text: str
    ok: bool


class Stage(Struct, frozen=True):
    """One stage of the pipeline: its figure, and a line of small print."""

    name: str
    figure: str
    unit: str
    note: str


@cache
def _environment() -> Environment:
    made = environment("agent.web")
    made.filters.update(
        size=words.size,
        span=words.span,
        took=words.took,
        talk=words.talk,
        grouped=words.grouped,
        month=words.month,
        card=words.card,
        priced=words.priced,
    )
    made.globals.update(
        share=share,
        health_words=HEALTH_WORDS,
        severity_words=SEVERITY_WORDS,
        state_words=STATE_WORDS,
        outcome_words=OUTCOME_WORDS,
    )
    return made


def render(
    snapshot: Snapshot, now_ms: int, outcome: UploadOutcome | None = None, asset_tag: str = "", running: bool = True
) -> str:
    """The whole page. `outcome` is that of an upload just asked for; `asset_tag` changes when an asset does."""
    zone = words.zone_of(snapshot.timezone)
    view: dict[str, Any] = {
        "s": snapshot,
        "today": snapshot.today,
        "shown_seats": snapshot.today.seats[:SEATS_SHOWN],
        "outcome": outcome,
        "asset_tag": asset_tag,
        "running": running,
        "day": words.day(snapshot.today.day),
        "zone_label": words.zone_label(now_ms, zone),
        "now": f"{words.local(now_ms, zone):%H:%M:%S}",
        "stages": stages(snapshot, now_ms),
        "chart": hour_chart(snapshot.today),
        "classes": sorted(snapshot.today.by_class.items(), key=lambda item: (-item[1], item[0])),
        "features": sorted(snapshot.today.features.items(), key=lambda item: (-item[1], item[0])),
        "clock": lambda at_ms: words.clock(at_ms, now_ms, zone),
        "iso": lambda at_ms: words.iso(at_ms, zone),
        "from_now": lambda at_ms: words.from_now(at_ms, now_ms),
        "estimate_notes": words.estimate_notes(snapshot.estimate, zone) if snapshot.estimate else "",
        "plain": plain,
    }
    return _environment().get_template("status.html").render(view)


def trouble(title: str, text: str) -> str:
    """A page for a refusal or a failure: what is wrong, in a sentence."""
    return _environment().get_template("trouble.html").render(title=title, text=text)


def plain(code: str) -> str:
    """A code of the catalogue as words: `toll_free` -> `Toll free`."""
    return code.replace("_", " ").capitalize()


def stages(snapshot: Snapshot, now_ms: int) -> tuple[Stage, ...]:
    """heard -> kept -> metered -> sent -> acknowledged, in totals since the ledger's first start."""
    pipeline = snapshot.pipeline
    kept = pipeline.legs + pipeline.registrations + pipeline.feature_uses + pipeline.risks
    return (
        Stage("Heard", words.number(kept + pipeline.rejects), "records", _count(pipeline.rejects, "rejected")),
        Stage("Kept", words.number(kept), "records", words.counted(pipeline.calls, "call")),
        Stage("Metered", words.number(pipeline.events), "events", _metered_note(snapshot)),
        *(_sent_stages(snapshot, snapshot.uplinks[0], now_ms) if snapshot.uplinks else _unsent_stages()),
    )


def _count(value: int, what: str) -> str:
    return f"{value:,} {what}" if value else f"none {what}"


def _metered_note(snapshot: Snapshot) -> str:
    pipeline = snapshot.pipeline
    if pipeline.settling:
        return f"{words.counted(pipeline.settling, 'call')} not yet settled"
    return words.counted(pipeline.corrections, "correction") if pipeline.corrections else "no corrections"


def _sent_stages(snapshot: Snapshot, uplink: UplinkView, now_ms: int) -> tuple[Stage, Stage]:
    """What was sent is at least what was acknowledged; an upload that got no answer reaches further."""
    acknowledged = max(0, snapshot.pipeline.events - uplink.backlog)
    furthest = max((upload.last for upload in uplink.uploads), default=0)
    unanswered = min(max(0, furthest - uplink.acked_through), uplink.backlog)
    sent_note = (
        f"last answer {words.from_now(uplink.last_ok_at_ms, now_ms)}" if uplink.last_ok_at_ms else "no answer yet"
    )
    return (
        Stage("Sent", words.number(acknowledged + unanswered), "events", sent_note),
        Stage("Acknowledged", words.number(acknowledged), "events", _count(uplink.backlog, "waiting")),
    )


def _unsent_stages() -> tuple[Stage, Stage]:
    return Stage("Sent", "–", "", "no platform set up"), Stage("Acknowledged", "–", "", "no platform set up")


class Chart(Struct, frozen=True):
    """The calls by hour: the drawing, the top of its scale, and hours to write below it."""

    svg: Markup
    top: str
    half: str
    hours: tuple[str, ...]


def hour_chart(today: TodayView) -> Chart | None:
    """None where the day has no calls yet: an empty chart tells nothing that a sentence does not."""
    values = today.by_hour
    if not any(values):
        return None
    top = charts.ceiling(max(values))
    titles = [
        f"{hour:02d}:00 to {hour + 1:02d}:00: {words.counted(value, 'call')}" for hour, value in enumerate(values)
    ]
    busiest = max(range(len(values)), key=lambda hour: values[hour])
    label = f"Calls by hour. Busiest: {titles[busiest]}"
    hours = tuple(f"{hour:02d}" for hour in range(0, len(values), 3))
    return Chart(charts.bars(values, titles, label), words.number(top), words.number(top // 2), hours)
