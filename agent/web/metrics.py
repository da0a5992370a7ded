"""The snapshot as Prometheus text (exposition format 0.0.4). Pure.

One table says every metric: its name, type, meaning, labels and where its samples come from. The reference page is
written from the same table.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from msgspec import Struct

from agent.ledger.snapshot import Snapshot, SourceView, UplinkView

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
HEALTHS = ("ok", "attention", "broken", "stopped")
Sample = tuple[tuple[str, ...], int | float | str]
"""Label values in the order of the metric's labels, and the number."""


class Metric(Struct, frozen=True):
    name: str
    type: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...]
    samples: Callable[[Snapshot], Iterable[Sample]]


def _of_pipeline(field: str) -> Callable[[Snapshot], Iterable[Sample]]:
    return lambda snapshot: [((), getattr(snapshot.pipeline, field))]


def _of_sources(value: Callable[[SourceView], int | float]) -> Callable[[Snapshot], Iterable[Sample]]:
    return lambda snapshot: [((one.name, one.kind), value(one)) for one in snapshot.sources]


def _of_uplinks(value: Callable[[UplinkView], int | float]) -> Callable[[Snapshot], Iterable[Sample]]:
    return lambda snapshot: [((one.destination,), value(one)) for one in snapshot.uplinks]


def _source_counters(snapshot: Snapshot) -> Iterator[Sample]:
    for source in snapshot.sources:
        for name, value in sorted(source.counters.items()):
            yield (source.name, source.kind, name), value


def _oldest_waiting(snapshot: Snapshot) -> Iterator[Sample]:
    for one in snapshot.uplinks:
        age_ms = snapshot.taken_at_ms - one.oldest_waiting_ms if one.oldest_waiting_ms else 0
        yield (one.destination,), max(0, age_ms) / 1000


def _problems(snapshot: Snapshot) -> Iterator[Sample]:
    counts: dict[tuple[str, ...], int] = {}
    for problem in snapshot.problems:
        label = (problem.code, problem.severity)
        counts[label] = counts.get(label, 0) + 1
    yield from counts.items()


SOURCE = ("source", "kind")
UPLINK = ("destination",)

METRICS: tuple[Metric, ...] = (
    Metric(
        "pegcount_info",
        "gauge",
        "Always 1; the labels tell the version and the site.",
        ("version", "site_id"),
        lambda s: [((s.version, s.site_id), 1)],
    ),
    Metric(
        "pegcount_health",
        "gauge",
        "1 for the verdict that holds now, 0 for the others.",
        ("health",),
        lambda s: [((one,), int(one == s.health)) for one in HEALTHS],
    ),
    Metric("pegcount_problems", "gauge", "Problems that hold now, by code.", ("code", "severity"), _problems),
    Metric(
        "pegcount_source_up",
        "gauge",
        "1 while the source is running.",
        SOURCE,
        _of_sources(lambda one: int(one.state == "running")),
    ),
    Metric(
        "pegcount_source_legs_total",
        "counter",
        "Legs kept from the source.",
        SOURCE,
        _of_sources(lambda one: one.legs),
    ),
    Metric(
        "pegcount_source_calls_total",
        "counter",
        "Calls that the source's legs make.",
        SOURCE,
        _of_sources(lambda one: one.calls),
    ),
    Metric(
        "pegcount_source_registrations_total",
        "counter",
        "Registrations kept from the source.",
        SOURCE,
        _of_sources(lambda one: one.registrations),
    ),
    Metric(
        "pegcount_source_rejects_total",
        "counter",
        "Lines or messages of the source that could not be read.",
        SOURCE,
        _of_sources(lambda one: one.rejects),
    ),
    Metric(
        "pegcount_source_heard_timestamp_seconds",
        "gauge",
        "When the source was last heard; 0: never.",
        SOURCE,
        _of_sources(lambda one: one.heard_at_ms / 1000),
    ),
    Metric(
        "pegcount_source_backlog_bytes",
        "gauge",
        "Bytes that the source holds and the agent has not read yet.",
        SOURCE,
        _of_sources(lambda one: one.backlog_bytes),
    ),
    Metric(
        "pegcount_source_counter_total",
        "counter",
        "The collector's own counters since its start, by the names in its README.",
        (*SOURCE, "counter"),
        _source_counters,
    ),
    Metric("pegcount_legs_total", "counter", "Legs in the ledger.", (), _of_pipeline("legs")),
    Metric("pegcount_calls_total", "counter", "Calls in the ledger.", (), _of_pipeline("calls")),
    Metric(
        "pegcount_registrations_total", "counter", "Registrations in the ledger.", (), _of_pipeline("registrations")
    ),
    Metric("pegcount_feature_uses_total", "counter", "Feature uses in the ledger.", (), _of_pipeline("feature_uses")),
    Metric("pegcount_risks_total", "counter", "Risks in the ledger.", (), _of_pipeline("risks")),
    Metric("pegcount_rejects_total", "counter", "Rejected input, all sources.", (), _of_pipeline("rejects")),
    Metric(
        "pegcount_rejects_dropped_total",
        "counter",
        "Older rejects that are counted but no longer kept.",
        (),
        _of_pipeline("dropped_rejects"),
    ),
    Metric("pegcount_events_total", "counter", "Micro-transactions written.", (), _of_pipeline("events")),
    Metric("pegcount_corrections_total", "counter", "Of these, corrections.", (), _of_pipeline("corrections")),
    Metric("pegcount_calls_settling", "gauge", "Calls that are not metered yet.", (), _of_pipeline("settling")),
    Metric("pegcount_ledger_bytes", "gauge", "Size of the ledger on disk.", (), _of_pipeline("ledger_bytes")),
    Metric(
        "pegcount_uplink_last_sequence",
        "gauge",
        "Number of the newest event of the epoch.",
        UPLINK,
        _of_uplinks(lambda one: one.last_sequence),
    ),
    Metric(
        "pegcount_uplink_acked_sequence",
        "gauge",
        "Number of the event up to which all is acknowledged.",
        UPLINK,
        _of_uplinks(lambda one: one.acked_through),
    ),
    Metric(
        "pegcount_uplink_backlog_events",
        "gauge",
        "Events that wait to be acknowledged.",
        UPLINK,
        _of_uplinks(lambda one: one.backlog),
    ),
    Metric(
        "pegcount_uplink_oldest_waiting_seconds",
        "gauge",
        "Age of the oldest event that waits; 0: none waits.",
        UPLINK,
        _oldest_waiting,
    ),
    Metric(
        "pegcount_uplink_refused_total",
        "counter",
        "Events that the platform refused (kept in quarantine).",
        UPLINK,
        _of_uplinks(lambda one: one.refused),
    ),
    Metric(
        "pegcount_uplink_next_try_timestamp_seconds",
        "gauge",
        "When the next upload is due; 0: not planned.",
        UPLINK,
        _of_uplinks(lambda one: one.next_try_at_ms / 1000),
    ),
    Metric(
        "pegcount_uplink_last_success_timestamp_seconds",
        "gauge",
        "When the platform last acknowledged; 0: never.",
        UPLINK,
        _of_uplinks(lambda one: one.last_ok_at_ms / 1000),
    ),
    Metric("pegcount_today_calls", "gauge", "Calls of the site's local day.", (), lambda s: [((), s.today.calls)]),
    Metric("pegcount_today_answered", "gauge", "Of these, answered.", (), lambda s: [((), s.today.answered)]),
    Metric(
        "pegcount_today_billed_minutes",
        "gauge",
        "Billed minutes of the site's local day.",
        (),
        lambda s: [((), s.today.minutes)],
    ),
    Metric(
        "pegcount_today_calls_by_class",
        "gauge",
        "Calls of the site's local day by call class.",
        ("class",),
        lambda s: [((name,), count) for name, count in sorted(s.today.by_class.items())],
    ),
    Metric(
        "pegcount_today_seats",
        "gauge",
        "Seats that were registered or used on the site's local day.",
        (),
        lambda s: [((), s.today.seat_count)],
    ),
)


def exposition(snapshot: Snapshot) -> str:
    """All metrics with a sample, as the text that Prometheus scrapes."""
    return "".join(_metric_text(metric, snapshot) for metric in METRICS)


def _metric_text(metric: Metric, snapshot: Snapshot) -> str:
    lines = [f"{metric.name}{_labels(metric.labels, values)} {number}" for values, number in metric.samples(snapshot)]
    if not lines:
        return ""
    return "\n".join([f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.type}", *lines, ""])


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
