"""What the ledger tells: the figures of a snapshot, over a read-only connection.

Each function is one question; none changes anything, and none waits for the writer.
"""

from collections.abc import Iterable

import msgspec
from sqlite_utils import Database

from agent.ledger.snapshot import CallView, PipelineView, RiskView, SeatView, TodayView, UplinkView, UploadView
from agent.metering.catalogue import RISKS
from agent.metering.charge import decimal_text, minutes_amount
from agent.metering.corrections import SeatDay
from agent.metering.days import QUARTER_MS, day_bounds, local_day, local_hour

LATEST_CALLS = 25
SHOWN_UPLOADS = 12
SHOWN_RISKS = 25
SHOWN_SEATS = 500
"""A page with more rows helps nobody; the count above the table is of all."""

_decode_seat = msgspec.msgpack.Decoder(SeatDay).decode


def pipeline(db: Database, ledger_bytes: int) -> PipelineView:
    legs, calls, registrations, uses, risks, rejects, dropped = db.execute(
        "SELECT coalesce(sum(legs), 0), coalesce(sum(calls), 0), coalesce(sum(registrations), 0),"
        " coalesce(sum(feature_uses), 0), coalesce(sum(risks), 0), coalesce(sum(rejects), 0),"
        " coalesce(sum(rejects_dropped), 0) FROM source"
    ).fetchone()
    (events,) = db.execute("SELECT coalesce(max(line), 0) FROM event").fetchone()
    (settling,) = db.execute("SELECT count(*) FROM settling").fetchone()
    corrections = db.execute("SELECT value FROM counter WHERE name = 'corrections'").fetchone()
    return PipelineView(
        legs=legs,
        calls=calls,
        registrations=registrations,
        feature_uses=uses,
        risks=risks,
        rejects=rejects,
        events=events,
        corrections=corrections[0] if corrections else 0,
        settling=settling,
        dropped_rejects=dropped,
        ledger_bytes=ledger_bytes,
    )


class SourceTotals(msgspec.Struct, frozen=True):
    """What the ledger holds of one source."""

    name: str
    kind: str
    legs: int
    calls: int
    registrations: int
    rejects: int
    heard_at_ms: int


def sources(db: Database) -> list[SourceTotals]:
    rows = db.execute("SELECT name, kind, legs, calls, registrations, rejects, heard_at_ms FROM source ORDER BY id")
    return [SourceTotals(*row) for row in rows]


def uplinks(db: Database) -> list[UplinkView]:
    epoch, after_line = db.execute("SELECT id, after_line FROM epoch ORDER BY n DESC LIMIT 1").fetchone() or ("", 0)
    (last_line,) = db.execute("SELECT coalesce(max(line), 0) FROM event").fetchone()
    last = max(0, last_line - after_line)
    rows = db.execute("SELECT name, acked_through, acked_at_ms FROM destination WHERE active ORDER BY name").fetchall()
    platforms = [
        UplinkView(
            destination=name,
            epoch=epoch,
            acked_through=acked,
            last_sequence=last,
            backlog=last - acked,
            oldest_waiting_ms=_recorded(db, after_line + acked + 1) if last > acked else 0,
            refused=_refused(db, name),
            last_ok_at_ms=max(acked_at, _last_answer(db, name)),
            uploads=_uploads(db, name),
        )
        for name, acked, acked_at in rows
    ]
    return platforms + _forwards(db, last_line)


def _forwards(db: Database, last_line: int) -> list[UplinkView]:
    rows = db.execute("SELECT name, through, acked_at_ms FROM forward WHERE active ORDER BY name").fetchall()
    return [
        UplinkView(
            destination=name,
            acked_through=through,
            last_sequence=last_line,
            backlog=last_line - through,
            oldest_waiting_ms=_recorded(db, through + 1) if last_line > through else 0,
            refused=_refused(db, name),
            last_ok_at_ms=max(acked_at, _last_answer(db, name)),
            uploads=_uploads(db, name),
        )
        for name, through, acked_at in rows
    ]


def _refused(db: Database, destination: str) -> int:
    (count,) = db.execute("SELECT count(*) FROM quarantine WHERE destination = ?", (destination,)).fetchone()
    return int(count)


def _recorded(db: Database, line: int) -> int:
    row = db.execute("SELECT recorded_ms FROM event WHERE line >= ? ORDER BY line LIMIT 1", (line,)).fetchone()
    return int(row[0]) if row else 0


def _last_answer(db: Database, destination: str) -> int:
    """When the platform last acknowledged a request, be it one without events."""
    row = db.execute(
        "SELECT at_ms FROM upload WHERE destination = ? AND outcome IN ('acknowledged', 'duplicate') ORDER BY id DESC LIMIT 1",
        (destination,),
    ).fetchone()
    return int(row[0]) if row else 0


def _uploads(db: Database, destination: str) -> tuple[UploadView, ...]:
    rows = db.execute(
        "SELECT at_ms, first, last, count, size_bytes, outcome, took_ms FROM upload WHERE destination = ?"
        " ORDER BY id DESC LIMIT ?",
        (destination, SHOWN_UPLOADS),
    )
    return tuple(
        UploadView(at_ms=at, first=first, last=last, count=count, size_bytes=size, outcome=outcome, took_ms=took)
        for at, first, last, count, size, outcome, took in rows
    )


def today(db: Database, now_ms: int, timezone: str) -> TodayView:
    """The site's local day up to now. Calls are those that started in it."""
    day = local_day(now_ms, timezone)
    bounds = day_bounds(day, timezone)
    calls, answered = db.execute(
        "SELECT count(*), coalesce(sum(answered), 0) FROM call WHERE started_at_ms >= ? AND started_at_ms < ?", bounds
    ).fetchone()
    by_class = dict(
        db.execute(
            "SELECT class, count(*) FROM call WHERE started_at_ms >= ? AND started_at_ms < ? GROUP BY class ORDER BY 2 DESC",
            bounds,
        )
    )
    seats = seats_of(db, day)
    return TodayView(
        day=day,
        calls=calls,
        answered=answered,
        minutes=_minutes(db, bounds),
        by_class=by_class,
        by_hour=_by_hour(db, bounds, timezone),
        seats=tuple(seats[:SHOWN_SEATS]),
        seat_count=len(seats),
        features=_feature_uses(seats),
        latest=_latest(db, bounds),
    )


def _minutes(db: Database, bounds: tuple[int, int]) -> str:
    """The sum of what the events say: each call's minutes are rounded once, then added exactly."""
    rows = db.execute(
        "SELECT billed_s, count(*) FROM call WHERE answered AND started_at_ms >= ? AND started_at_ms < ? GROUP BY billed_s",
        bounds,
    )
    return decimal_text(sum(minutes_amount(billed_s) * count for billed_s, count in rows))


def _by_hour(db: Database, bounds: tuple[int, int], timezone: str) -> tuple[int, ...]:
    hours = [0] * 24
    rows = db.execute(
        "SELECT started_at_ms / ?, count(*) FROM call WHERE started_at_ms >= ? AND started_at_ms < ? GROUP BY 1",
        (QUARTER_MS, *bounds),
    )
    for quarter, count in rows:
        hours[local_hour(quarter * QUARTER_MS, timezone)] += count
    return tuple(hours)


def seats_of(db: Database, day: str) -> list[SeatView]:
    """The seats that count on a day, by name."""
    rows = db.execute("SELECT seat, state FROM seat_day WHERE day = ? ORDER BY length(seat), seat", (day,))
    return [
        _seat(seat, state)
        for seat, state in ((seat, _decode_seat(body)) for seat, body in rows)
        if state.level is not None
    ]


def _seat(seat: str, state: SeatDay) -> SeatView:
    return SeatView(
        seat=seat,
        level=state.level or "",
        uses=state.active,
        registered=state.registered > 0,
        active=state.active > 0,
        features=tuple(sorted(state.used())),
    )


def _feature_uses(seats: Iterable[SeatView]) -> dict[str, int]:
    """feature -> how many seats used it."""
    counts: dict[str, int] = {}
    for seat in seats:
        for code in seat.features:
            counts[code] = counts.get(code, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _latest(db: Database, bounds: tuple[int, int]) -> tuple[CallView, ...]:
    rows = db.execute(
        "SELECT call.started_at_ms, caller, dialled, class, outcome, talk_ms, source.name, ending FROM call"
        " JOIN source ON source.id = call.source"
        " WHERE started_at_ms >= ? AND started_at_ms < ? ORDER BY started_at_ms DESC LIMIT ?",
        (*bounds, LATEST_CALLS),
    )
    return tuple(
        CallView(
            started_at_ms=started,
            caller=caller,
            dialled=dialled,
            call_class=call_class,
            outcome=outcome,
            talk_ms=talk,
            source=source,
            ending=ending,
        )
        for started, caller, dialled, call_class, outcome, talk, source, ending in rows
    )


def latest_risks(db: Database, since_ms: int) -> tuple[RiskView, ...]:
    """What went on since then, by who did what; the latest first."""
    rows = db.execute(
        "SELECT code, origin, endpoint, min(at_ms), max(until_ms), sum(risk.count), detail, source.name FROM risk"
        " JOIN source ON source.id = risk.source WHERE until_ms >= ? GROUP BY risk.source, code, origin, endpoint"
        " ORDER BY 5 DESC LIMIT ?",
        (since_ms, SHOWN_RISKS),
    )
    return tuple(
        RiskView(
            code=code,
            text=RISKS.get(code, code),
            origin=origin,
            endpoint=endpoint,
            at_ms=at_ms,
            until_ms=until_ms,
            count=count,
            detail=detail,
            source=source,
        )
        for code, origin, endpoint, at_ms, until_ms, count, detail, source in rows
    )


class LatestReject(msgspec.Struct, frozen=True):
    """The rejects of one source in some time: how many, since when, and the latest one."""

    source: str
    count: int
    first_at_ms: int
    message: str
    position: str


def latest_rejects(db: Database, since_ms: int) -> list[LatestReject]:
    rows = db.execute(
        "SELECT source.name, count(*), min(at_ms), message, position, max(reject.id) FROM reject"
        " JOIN source ON source.id = reject.source WHERE at_ms >= ? GROUP BY reject.source",
        (since_ms,),
    )
    return [LatestReject(*row[:5]) for row in rows]


def newest_recorded_ms(db: Database) -> int:
    row = db.execute("SELECT recorded_ms FROM event ORDER BY line DESC LIMIT 1").fetchone()
    return int(row[0]) if row else 0


def epoch_began_ms(db: Database, reason: str) -> int:
    """When the newest epoch with this reason began; 0 where there is none."""
    (began_ms,) = db.execute("SELECT coalesce(max(started_at_ms), 0) FROM epoch WHERE reason = ?", (reason,)).fetchone()
    return int(began_ms)
