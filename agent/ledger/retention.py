"""Retention: what every destination has and the time has passed goes, in small steps.

Laws
- An event goes only when every destination has acknowledged it and it is older than the retention. Where no destination is
  known yet, no event goes.
- Records go with the same age, and each source keeps its horizon, so that an old file read again is not counted again. The
  horizon follows the source's own clock as well: a file that is read late, or a machine whose clock ran ahead for a
  moment, must not make records "too old" that were never heard before.
- What waits for legs is not pruned.
- Receipts go with the last event that they are for.
- The last event is never pruned, for numbering and chain stand on it. Events go from the oldest on and without a gap,
  whatever the clock said when they were recorded, so that what is left proves itself.
"""

from itertools import takewhile

from sqlite_utils import Database

from agent.ledger.intake import Intake
from agent.metering.days import local_day

STEP_ROWS = 5_000
"""Rows deleted in one transaction: some 50 ms, so that intake is not kept waiting."""

CALL_MAX_MS = 7 * 24 * 3600 * 1000
"""A source's newest record is at least so much younger than what is pruned of it: a CDR is written when its call ends, so that
those of long calls come behind those of short ones. No phone call lasts a week."""
STRADDLE_MS = 24 * 3600 * 1000
"""How far behind the pruned calls the horizon lies: the later legs of a pruned call begin after it, and would be a call of
their own when they are read again."""


def prune_events(db: Database, before_ms: int) -> int:
    """Delete up to STEP_ROWS events; returns how many went."""
    (through,) = db.execute(
        "SELECT min(through) FROM (SELECT CASE WHEN destination.epoch = epoch.n THEN after_line + acked_through"
        " ELSE after_line END AS through FROM destination, (SELECT n, after_line FROM epoch ORDER BY n DESC LIMIT 1) AS epoch"
        " WHERE active UNION ALL SELECT through FROM forward WHERE active)"
    ).fetchone()
    if through is None:
        return 0
    (newest,) = db.execute("SELECT coalesce(max(line), 0) FROM event").fetchone()
    rows = db.execute(
        "SELECT line, recorded_ms FROM event WHERE line < ? ORDER BY line LIMIT ?", (min(through, newest), STEP_ROWS)
    )
    old = [line for line, _ in takewhile(lambda row: row[1] < before_ms, rows.fetchall())]
    if not old:
        return 0
    db.execute("DELETE FROM event WHERE line <= ?", (old[-1],))
    db.execute(
        "DELETE FROM receipt WHERE last + (SELECT after_line FROM epoch WHERE n = receipt.epoch) <= ?", (old[-1],)
    )
    return len(old)


def prune_records(db: Database, intake: Intake, before_ms: int, timezone: str) -> int:
    """Delete up to STEP_ROWS calls a source that began before `before_ms`, and what else is that old."""
    heard = {source: time_ms for source, time_ms in db.execute("SELECT id, time_ms FROM source") if time_ms}
    limits = {source: min(before_ms, time_ms - CALL_MAX_MS) for source, time_ms in heard.items()}
    horizons = {source.id: source for source in intake.sources.values()}
    gone = 0
    for source_id, limit_ms in limits.items():
        rows, reached_ms = _prune_calls(db, source_id, limit_ms)
        gone += rows
        horizon_ms = reached_ms + STRADDLE_MS
        db.execute(
            "UPDATE source SET pruned_before_ms = max(pruned_before_ms, ?) WHERE id = ?", (horizon_ms, source_id)
        )
        if source := horizons.get(source_id):
            source.pruned_before_ms = max(source.pruned_before_ms, horizon_ms)
        for table in ("registration", "feature_use", "risk"):
            db.execute(f"DELETE FROM {table} WHERE source = ? AND at_ms < ?", (source_id, reached_ms))
    db.execute("DELETE FROM reject WHERE at_ms < ?", (before_ms,))
    open_limits = [limit_ms for source_id, limit_ms in limits.items() if source_id in horizons]
    db.execute("DELETE FROM seat_day WHERE day < ?", (local_day(min(open_limits, default=before_ms), timezone),))
    return gone


def _prune_calls(db: Database, source_id: int, limit_ms: int) -> tuple[int, int]:
    """How many calls went, and the time before which none is left that does not wait for legs."""
    oldest = db.execute(
        "SELECT id, key, started_at_ms FROM call WHERE +source = ? AND started_at_ms < ? AND NOT EXISTS"
        " (SELECT 1 FROM settling WHERE settling.source = call.source AND settling.call_key = call.key)"
        " ORDER BY started_at_ms LIMIT ?",
        (source_id, limit_ms, STEP_ROWS),
    ).fetchall()
    reached_ms = limit_ms if len(oldest) < STEP_ROWS else oldest[-1][2]
    gone = [row for row in oldest if row[2] < reached_ms] or oldest
    db.conn.executemany("DELETE FROM leg WHERE source = ? AND call_key = ?", [(source_id, key) for _, key, _ in gone])
    db.conn.executemany("DELETE FROM call WHERE id = ?", [(row_id,) for row_id, _, _ in gone])
    return len(gone), reached_ms
