"""A small source for the ledger's tests: rows of a call with caller, callee and times, joined as a PBX would."""

from collections.abc import Sequence

import msgspec

from agent.config.tables import Ledger as LedgerSettings
from agent.ledger.writer import Ledger
from agent.metering.rules import DialPlan, Level, Metering, Site
from collectors.contract import Context, Kind
from collectors.records import Call, FeatureUse, Leg, Party

SITE = Site(
    id="018f2f6c-0000-7000-8000-00000000c0de",
    provider="msp",
    name="Test office",
    timezone="America/New_York",
    dialplan=DialPlan(country="US", area="212"),
)
METERING = Metering(
    increment_s=60,
    minimum_s=60,
    levels=(Level("basic", ("voicemail_deposit",)), Level("standard", ("hold",)), Level("premium", ("conference",))),
)
NOON_MS = 1_795_194_000_000
"""2026-11-20 12:00 in New York."""


class Row(Leg, frozen=True, kw_only=True, gc=False):
    caller: str
    callee: str
    answered_at_ms: int | None = None
    feature: str = ""


def join(rows: Sequence[Row]) -> Call:
    rows = sorted(rows, key=lambda row: (row.started_at_ms, row.key))
    answered = [row for row in rows if row.answered_at_ms is not None]
    ended_at_ms = max(row.ended_at_ms for row in rows)
    answered_at_ms = min((row.answered_at_ms for row in answered if row.answered_at_ms is not None), default=None)
    return Call(
        key=rows[0].call_key,
        started_at_ms=rows[0].started_at_ms,
        answered_at_ms=answered_at_ms,
        ended_at_ms=ended_at_ms,
        talk_ms=sum(row.ended_at_ms - (row.answered_at_ms or 0) for row in answered),
        outcome="answered" if answered else "no_answer",
        caller=Party(rows[0].caller, rows[0].caller),
        dialled=rows[0].callee,
        answered_by=Party(answered[0].callee, answered[0].callee) if answered else None,
        offered=tuple(sorted({row.callee for row in rows})),
        features=tuple(
            FeatureUse(code=row.feature, endpoint=row.caller, at_ms=row.started_at_ms) for row in rows if row.feature
        ),
        legs=len(rows),
    )


class NoConfig(msgspec.Struct):
    """The source of these tests has nothing to configure."""


def never_opened(config: object, context: Context) -> object:
    raise AssertionError("the ledger does not open collectors")


KIND = Kind(name="desk", config=NoConfig, leg=Row, join=join, open=never_opened)  # type: ignore[arg-type]


def row(
    call: str,
    key: str = "1",
    caller: str = "101",
    callee: str = "102",
    start_s: float = 0,
    talk_s: float | None = 30,
    feature: str = "",
) -> Row:
    """A row of `call`: it rings for 5 seconds; `talk_s` None means nobody answered."""
    started = NOON_MS + int(start_s * 1000)
    answered = None if talk_s is None else started + 5000
    return Row(
        key=f"{call}/{key}",
        call_key=call,
        started_at_ms=started,
        ended_at_ms=started + 5000 + int((talk_s or 0) * 1000),
        caller=caller,
        callee=callee,
        answered_at_ms=answered,
        feature=feature,
    )


class Clock:
    """A wall clock that stands still until it is moved."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


def open_ledger(folder: object, now_ms: int = NOON_MS + 3_600_000, **settings: object) -> Ledger:
    chosen = LedgerSettings(path=f"{folder}/ledger.db", **settings)  # type: ignore[arg-type]
    ledger = Ledger.open(chosen, SITE, METERING, Clock(now_ms))
    ledger.add_source("desk", KIND, 5000)
    return ledger
