"""Retention: what every destination has and the time has passed goes, in small steps.

Laws
- An event goes only when every destination has acknowledged it and it is older than the retention. Where no destination is
  known yet, no event goes.
- Records go with the same age; each source keeps the horizon, so that an old file read again is not counted again.
- The last event is never pruned, for numbering and chain stand on it.
"""

from sqlite_utils import Database

from agent.ledger.intake import Intake
from agent.metering.days import local_day

STEP_ROWS = 5_000
"""Rows deleted in one transaction: some 50 ms, so that intake is not kept waiting."""


def prune_events(db: Database, before_ms: int) -> int:
    """Delete up to STEP_ROWS events; returns how many went."""
    (through,) = db.execute(
        "SELECT min(CASE WHEN destination.epoch = epoch.n THEN after_line + acked_through ELSE after_line END)"
        " FROM destination, (SELECT n, after_line FROM epoch ORDER BY n DESC LIMIT 1) AS epoch"
    ).fetchone()
    if through is None:
        return 0
    return db.execute(
        "DELETE FROM event WHERE line IN (SELECT line FROM event WHERE line < ? AND recorded_ms < ?"
        " AND line < (SELECT max(line) FROM event) ORDER BY line LIMIT ?)",
        (through, before_ms, STEP_ROWS),
    ).rowcount


def prune_records(db: Database, intake: Intake, before_ms: int, timezone: str) -> int:
    """Delete up to STEP_ROWS calls that began before `before_ms`, and what else is that old."""
    oldest = db.execute(
        "SELECT id, source, key, started_at_ms FROM call WHERE started_at_ms < ? ORDER BY started_at_ms LIMIT ?",
        (before_ms, STEP_ROWS),
    ).fetchall()
    horizon_ms = before_ms if len(oldest) < STEP_ROWS else oldest[-1][3]
    gone = [row for row in oldest if row[3] < horizon_ms] or oldest
    db.conn.executemany("DELETE FROM leg WHERE source = ? AND call_key = ?", [(row[1], row[2]) for row in gone])
    db.conn.executemany("DELETE FROM call WHERE id = ?", [(row[0],) for row in gone])
    db.execute("UPDATE source SET pruned_before_ms = max(pruned_before_ms, ?)", (horizon_ms,))
    for source in intake.sources.values():
        source.pruned_before_ms = max(source.pruned_before_ms, horizon_ms)
    for table in ("registration", "feature_use", "reject"):
        db.execute(f"DELETE FROM {table} WHERE at_ms < ?", (horizon_ms,))
    db.execute("DELETE FROM seat_day WHERE day < ?", (local_day(horizon_ms, timezone),))
    return len(gone)
