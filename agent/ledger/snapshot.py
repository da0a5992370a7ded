"""What can be seen of the agent: one value that the status page, `status --json` and the metrics all draw.

Laws
- A snapshot is taken over a read-only connection; it never waits for the writer.
- Every figure is the ledger's own or the named live value beside it; nothing is counted twice over.
"""

from typing import Literal

from msgspec import Struct


class Problem(Struct, frozen=True, kw_only=True):
    """Something that a technician should know. `code` is stable and documented in docs/reference/problems.md."""

    code: str
    severity: Literal["notice", "warning", "error"]
    title: str
    text: str
    hint: str = ""
    since_ms: int = 0
    about: str = ""


class SourceView(Struct, frozen=True, kw_only=True):
    """A source: what the ledger holds of it and, where the agent runs, what its collector says now."""

    name: str
    kind: str
    state: Literal["running", "waiting", "failed", "ended", "stopped"]
    detail: str = ""
    legs: int = 0
    calls: int = 0
    registrations: int = 0
    rejects: int = 0
    heard_at_ms: int = 0
    backlog_bytes: int = 0
    counters: dict[str, int] = {}


class PipelineView(Struct, frozen=True, kw_only=True):
    """Totals since the ledger's first start."""

    legs: int = 0
    calls: int = 0
    registrations: int = 0
    feature_uses: int = 0
    risks: int = 0
    rejects: int = 0
    events: int = 0
    corrections: int = 0
    settling: int = 0
    dropped_rejects: int = 0
    ledger_bytes: int = 0


class UploadView(Struct, frozen=True, kw_only=True):
    at_ms: int
    first: int
    last: int
    count: int
    size_bytes: int
    outcome: str
    took_ms: int


class UplinkView(Struct, frozen=True, kw_only=True):
    destination: str
    address: str = ""
    epoch: str = ""
    acked_through: int = 0
    last_sequence: int = 0
    backlog: int = 0
    oldest_waiting_ms: int = 0
    refused: int = 0
    next_try_at_ms: int = 0
    last_ok_at_ms: int = 0
    uploads: tuple[UploadView, ...] = ()
    window: str = ""
    """The hours in which events leave; empty: at any."""


class SeatView(Struct, frozen=True, kw_only=True):
    seat: str
    level: str
    uses: int
    registered: bool
    active: bool
    features: tuple[str, ...] = ()


class CallView(Struct, frozen=True, kw_only=True):
    started_at_ms: int
    caller: str
    dialled: str
    call_class: str
    outcome: str
    talk_ms: int
    source: str
    ending: str = "confirmed"


class RiskView(Struct, frozen=True, kw_only=True):
    """A risk of the last day: all that one address did of one kind, with one account where it is about one. `text` says what it
    is; `count` how often."""

    code: str
    text: str
    origin: str
    endpoint: str
    at_ms: int
    until_ms: int
    count: int
    detail: str
    source: str


class TodayView(Struct, frozen=True, kw_only=True):
    """The site's local day. `minutes` are billed minutes, an exact decimal as text; `features` counts the seats that used
    each; `seats` may be cut short, `seat_count` is of all."""

    day: str
    calls: int = 0
    answered: int = 0
    minutes: str = "0"
    by_class: dict[str, int] = {}
    by_hour: tuple[int, ...] = ()
    seats: tuple[SeatView, ...] = ()
    seat_count: int = 0
    features: dict[str, int] = {}
    latest: tuple[CallView, ...] = ()


class PriceView(Struct, frozen=True, kw_only=True):
    """What a price of the rate card comes to in the month. `only`: the values of its conditions. `quantity` is all that was
    used, `free` what of it is included; `price` is that of a unit, or of its tiers in words; `amount` is exact. All decimals
    are text."""

    meter: str
    unit: str
    only: tuple[str, ...] = ()
    quantity: str
    free: str = "0"
    price: str
    amount: str


class UnpricedView(Struct, frozen=True, kw_only=True):
    """What was used and has no price. `only`: its attributes, where the meter has prices for others."""

    meter: str
    unit: str
    only: tuple[str, ...] = ()
    quantity: str


class EstimateView(Struct, frozen=True, kw_only=True):
    """What the site's month comes to so far by the rate card: an estimate, for amounts are the platform's matter. `total` is
    rounded to the currency's minor unit, `exact` is not. `unpriced`: what the card has no price for.
    `waiting`: events that are not in it yet; `from_ms`: when it begins, where that is not the month's beginning."""

    month: str
    currency: str
    version: str
    digest: str
    total: str
    exact: str
    prices: tuple[PriceView, ...] = ()
    unpriced: tuple[UnpricedView, ...] = ()
    waiting: int = 0
    from_ms: int = 0


class Snapshot(Struct, frozen=True, kw_only=True):
    """`verdict` is a sentence; `health` its one-word form. `estimate` is there where there is a rate card. `governed`: the keys
    that the platform's policy has set, such as `schedule.interval_s`."""

    taken_at_ms: int
    version: str
    site: str
    site_id: str
    timezone: str
    health: Literal["ok", "attention", "broken", "stopped"]
    verdict: str
    sources: tuple[SourceView, ...]
    pipeline: PipelineView
    uplinks: tuple[UplinkView, ...]
    today: TodayView
    problems: tuple[Problem, ...] = ()
    risks: tuple[RiskView, ...] = ()
    estimate: EstimateView | None = None
    governed: tuple[str, ...] = ()
