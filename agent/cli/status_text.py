"""A snapshot as a few lines of text. Pure."""

from collections.abc import Iterator
from datetime import tzinfo

from agent.cli.common import printable
from agent.ledger.snapshot import EstimateView, Problem, RiskView, Snapshot, SourceView, UplinkView
from agent.web import words
from agent.web.page import HEALTH_WORDS, SEVERITY_WORDS, STATE_WORDS

HEAD_WIDTH = 10


def status_text(snapshot: Snapshot) -> str:
    """The verdict first, then what it rests on."""
    zone = words.zone_of(snapshot.timezone)
    at = words.local(snapshot.taken_at_ms, zone)
    lines = [
        f"{HEALTH_WORDS[snapshot.health]}. {snapshot.verdict}",
        "",
        _row("site", _site(snapshot)),
        _row("at", f"{at:%Y-%m-%d %H:%M:%S} {snapshot.timezone}, pegcount {snapshot.version}"),
        *_rows("problems", [line for problem in snapshot.problems for line in _problem(problem)]),
        *_rows("risks", [_risk(risk, snapshot.taken_at_ms) for risk in snapshot.risks]),
        *_rows("sources", [_source(source, snapshot.taken_at_ms) for source in snapshot.sources] or ["none set up"]),
        _row("ledger", ", ".join(_pipeline(snapshot))),
        *_rows("uplink", [_uplink(uplink, snapshot) for uplink in snapshot.uplinks] or ["none set up"]),
        *_rows("policy", [f"of the platform, sets {', '.join(snapshot.governed)}"] if snapshot.governed else []),
        _row("today", ", ".join(_today(snapshot))),
        *_rows("estimate", list(_estimate(snapshot.estimate, zone)) if snapshot.estimate else []),
    ]
    return "\n".join(lines)


def _site(snapshot: Snapshot) -> str:
    """A site without a name is called by its id."""
    return snapshot.site if snapshot.site == snapshot.site_id else f"{snapshot.site} ({snapshot.site_id})"


def _row(head: str, text: str) -> str:
    return f"{head:{HEAD_WIDTH}}{printable(text)}".rstrip()


def _rows(head: str, texts: list[str]) -> list[str]:
    return [_row(head if not place else "", text) for place, text in enumerate(texts)]


def _problem(problem: Problem) -> Iterator[str]:
    about = f" [{problem.about}]" if problem.about else ""
    yield f"{SEVERITY_WORDS[problem.severity]}: {problem.title.rstrip('.')}{about} ({problem.code})"
    if problem.text:
        yield f"  {problem.text}"
    if problem.hint:
        yield f"  What to do: {problem.hint}"


def _risk(risk: RiskView, now_ms: int) -> str:
    account = f", account {risk.endpoint}" if risk.endpoint else ""
    times = words.counted(risk.count, "time")
    return f"{risk.text}: {risk.origin}{account}, {times}, last {words.from_now(risk.until_ms, now_ms)} ({risk.code})"


def _source(source: SourceView, now_ms: int) -> str:
    figures = [
        words.counted(source.legs, "leg"),
        words.counted(source.calls, "call"),
        words.counted(source.registrations, "registration"),
        words.counted(source.rejects, "reject"),
        f"heard {words.from_now(source.heard_at_ms, now_ms)}",
    ]
    detail = f"; {source.detail}" if source.detail else ""
    return f"{source.name} ({source.kind}) {STATE_WORDS[source.state].lower()}: {', '.join(figures)}{detail}"


def _pipeline(snapshot: Snapshot) -> Iterator[str]:
    pipeline = snapshot.pipeline
    yield words.counted(pipeline.legs, "leg")
    yield words.counted(pipeline.calls, "call")
    yield words.counted(pipeline.registrations, "registration")
    yield words.counted(pipeline.events, "event")
    yield words.counted(pipeline.corrections, "correction")
    yield words.counted(pipeline.rejects, "reject")
    yield words.size(pipeline.ledger_bytes)


def _uplink(uplink: UplinkView, snapshot: Snapshot) -> str:
    now_ms = snapshot.taken_at_ms
    address = f" {uplink.address}" if uplink.address else ""
    waiting = f"{words.counted(uplink.backlog, 'event')} waiting" if uplink.backlog else "nothing waiting"
    answer = f"last answer {words.from_now(uplink.last_ok_at_ms, now_ms)}"
    tried = f", next try {words.from_now(uplink.next_try_at_ms, now_ms)}" if uplink.next_try_at_ms else ""
    refused = f", {words.number(uplink.refused)} refused" if uplink.refused else ""
    window = f", events leave {uplink.window} only" if uplink.window else ""
    return f"{uplink.destination}{address}: {waiting}, {answer}{tried}{window}{refused}"


def _today(snapshot: Snapshot) -> Iterator[str]:
    today = snapshot.today
    yield words.counted(today.calls, "call")
    yield f"{words.number(today.answered)} answered"
    yield f"{words.decimal(today.minutes)} billed min"
    yield words.counted(today.seat_count, "seat")


def _estimate(estimate: EstimateView, zone: tzinfo) -> Iterator[str]:
    """The total first, then what it is made of."""
    month = words.month(estimate.month)
    yield f"{month} so far: {estimate.currency} {words.grouped(estimate.total)}, an estimate by {words.card(estimate)}"
    for price in estimate.prices:
        free = f", {words.decimal(price.free)} of them free" if price.free != "0" else ""
        used = f"{words.decimal(price.quantity)} {price.unit}{free} at {price.price}"
        yield f"  {words.priced(price)}: {used}: {words.decimal(price.amount)}"
    if notes := words.estimate_notes(estimate, zone):
        yield f"  {notes}"
