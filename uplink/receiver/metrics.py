"""The receiver's own numbers, in Prometheus' text format (0.0.4): one table says each metric, its meaning and its source.

Laws
- Only sums: no site, token or number is named in them; a label has the values that its meaning lists, or a destination's name.
- What was counted as it happened is always told. What the store must be asked for is left out while it cannot tell, or not
  within ASKED_S: a scrape does not wait for it, nor fail of it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, TypeVar

from msgspec import Struct

from uplink.receiver.fleet.gathering import Gathering
from uplink.receiver.fleet.roster import Roster
from uplink.receiver.fleet.verdict import REASONS
from uplink.receiver.forwarding import Forwarding
from uplink.receiver.gate import Gate
from uplink.receiver.guard import Guard
from uplink.receiver.storage import Room, Storage, StoreUnavailable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "pegcount_receiver_"
ASKED_S = 5.0
"""Half of what Prometheus waits for."""

T = TypeVar("T")
Values = Mapping[str, float]


class Counts:
    """What is counted as it happens."""

    def __init__(self) -> None:
        self.batches: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.body_bytes = 0
        self.answer_s = 0.0


class Scrape(Struct, frozen=True, kw_only=True):
    """All that is told at one moment. None: not to be had now."""

    counts: Counts
    gate: Gate
    guard: Guard
    forwarding: Forwarding
    logins: Mapping[str, float]
    up: bool
    room: Room | None
    roster: Roster | None
    behind: Values | None


class Metric(Struct, frozen=True):
    """`values`: by the value of `label`, or by "" where there is none; None where they are not to be had."""

    name: str
    type: Literal["counter", "gauge"]
    help: str
    label: str
    values: Callable[[Scrape], Values | None]


def _of_room(value: Callable[[Room], int | None]) -> Callable[[Scrape], Values | None]:
    def values(scrape: Scrape) -> Values | None:
        told = value(scrape.room) if scrape.room else None
        return None if told is None else {"": told}

    return values


def _of_roster(values: Callable[[Roster], Values]) -> Callable[[Scrape], Values | None]:
    return lambda scrape: values(scrape.roster) if scrape.roster else None


METRICS: tuple[Metric, ...] = (
    Metric(
        "batches_total",
        "counter",
        "Batches by outcome: accepted, duplicate, heartbeat, or the code of the refusal.",
        "outcome",
        lambda scrape: scrape.counts.batches,
    ),
    Metric(
        "events_total",
        "counter",
        "Events stored: counted, known, rejected; mended: written again as their site sent them; lost: so it stated.",
        "status",
        lambda scrape: scrape.counts.events,
    ),
    Metric(
        "body_bytes_total",
        "counter",
        "Bytes of request bodies, encoded.",
        "",
        lambda scrape: {"": scrape.counts.body_bytes},
    ),
    Metric(
        "answer_seconds_total",
        "counter",
        "Time spent on batches until they were answered.",
        "",
        lambda scrape: {"": scrape.counts.answer_s},
    ),
    Metric("connections", "gauge", "Connections that are open.", "", lambda scrape: {"": scrape.gate.inside}),
    Metric(
        "turned_away_total",
        "counter",
        "Connections cut: connections or address (too many), handshake (no TLS came), head (too slow to ask),"
        " stalled (takes no answer), body (goes on with one that was refused).",
        "reason",
        lambda scrape: scrape.gate.turned_away,
    ),
    Metric(
        "throttled_total",
        "counter",
        "Requests over the rate of their address or site.",
        "of",
        lambda scrape: {"address": scrape.guard.addresses.refused, "site": scrape.guard.sites.refused},
    ),
    Metric(
        "logins_total",
        "counter",
        "Logins to the fleet page: in, wrong, throttled (too many attempts), busy (too many at once).",
        "outcome",
        lambda scrape: scrape.logins,
    ),
    Metric(
        "forwarded_total",
        "counter",
        "Events that went on to a destination.",
        "destination",
        lambda scrape: scrape.forwarding.sent,
    ),
    Metric(
        "forward_troubled",
        "gauge",
        "1 where something stands against a destination.",
        "destination",
        lambda scrape: scrape.forwarding.troubled(),
    ),
    Metric(
        "forward_behind",
        "gauge",
        "How far a destination is behind the newest event, in positions: at least as many as events wait for it.",
        "destination",
        lambda scrape: scrape.behind,
    ),
    Metric(
        "store_up",
        "gauge",
        "1 while the store answers, as /healthz has it.",
        "",
        lambda scrape: {"": int(scrape.up)},
    ),
    Metric("store_bytes", "gauge", "What the store takes.", "", _of_room(lambda room: room.used_bytes)),
    Metric(
        "store_free_bytes",
        "gauge",
        "What it could still take: of the disk (SQLite), below the stream's max_bytes (NATS); PostgreSQL does not tell.",
        "",
        _of_room(lambda room: room.free_bytes),
    ),
    Metric(
        "sites",
        "gauge",
        "Sites by verdict, as the fleet page has them: broken, attention, unheard, ok.",
        "verdict",
        _of_roster(lambda roster: dict(roster.counts.items())),
    ),
    Metric(
        "sites_because",
        "gauge",
        f"Sites by what was found, a site by each: {', '.join(REASONS)}.",
        "reason",
        _of_roster(lambda roster: {reason: roster.reasons.get(reason, 0) for reason in REASONS}),
    ),
    Metric(
        "sites_backlog_events",
        "gauge",
        "Events that wait at all sites, as their agents said last.",
        "",
        _of_roster(lambda roster: {"": roster.backlog}),
    ),
)


class Metrics:
    """What is told, and where it is asked for. `logins`: to the fleet page, by outcome."""

    def __init__(
        self,
        gate: Gate,
        guard: Guard,
        forwarding: Forwarding,
        logins: Mapping[str, float],
        store: Storage,
        gathering: Gathering,
    ) -> None:
        self.counts = Counts()
        self._gate = gate
        self._guard = guard
        self._forwarding = forwarding
        self._logins = logins
        self._store = store
        self._gathering = gathering

    async def text(self) -> str:
        up, room, roster, behind = await asyncio.gather(
            _told(self._answers()),
            _told(self._store.room()),
            _told(self._gathering.roster()),
            _told(self._forwarding.behind()),
        )
        scrape = Scrape(
            counts=self.counts,
            gate=self._gate,
            guard=self._guard,
            forwarding=self._forwarding,
            logins=self._logins,
            up=up is not None,
            room=room,
            roster=roster,
            behind=behind,
        )
        return exposition(scrape)

    async def _answers(self) -> bool:
        await self._store.check()
        return True


async def _told(asked: Awaitable[T]) -> T | None:
    try:
        async with asyncio.timeout(ASKED_S):
            return await asked
    except (StoreUnavailable, TimeoutError):
        return None


def exposition(scrape: Scrape) -> str:
    return "".join(_lines(metric, values) for metric in METRICS if (values := metric.values(scrape)) is not None)


def _lines(metric: Metric, values: Values) -> str:
    name = PREFIX + metric.name
    lines = [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.type}"]
    for key, value in sorted(values.items()):
        lines.append(f'{name}{{{metric.label}="{key}"}} {value}' if metric.label else f"{name} {value}")
    return "\n".join(lines) + "\n"
