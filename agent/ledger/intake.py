"""Batches -> rows: what one transaction of the ledger does with what the collectors handed in.

Laws
- Records, rejects, checkpoints, calls, seats and events of a batch are written in the caller's transaction: all or nothing.
- Nothing here is needed to go on after a crash: what is kept in memory (waiting calls, seats of the day) is read from the
  tables again by `load`.
- A record that is known already changes nothing.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from sqlite_utils import Database

from agent.ledger.numbering import Numbering
from agent.ledger.seats import Seats
from agent.ledger.settling import Settling
from agent.ledger.store import insert
from agent.metering.corrections import NOTHING, Booked, book
from agent.metering.meter import Meter
from collectors.contract import Batch, Kind
from collectors.records import EXCERPT_MAX_BYTES, Call, FeatureUse, Leg, Registration, Reject, Risk
from uplink.events import MicroTransaction

_encode = msgspec.msgpack.Encoder().encode
_json = msgspec.json.Encoder().encode
_decode_booked = msgspec.msgpack.Decoder(Booked).decode

EARLIEST_MS, LATEST_MS = -2_208_988_800_000, 253_370_764_800_000
"""1900 and 9999: RFC 3339 ends with the year 9999, and a day must have a next one. One call outside of it would otherwise fail
every transaction in which it is due, for all sources."""

CALL_COLUMNS = (
    "source, key, started_at_ms, talk_ms, billed_s, answered, class, outcome, ending, caller, dialled, booked"
)
_CALL_AGAIN = (
    "ON CONFLICT (source, key) DO UPDATE SET started_at_ms = excluded.started_at_ms, talk_ms = excluded.talk_ms,"
    " billed_s = excluded.billed_s, answered = excluded.answered, class = excluded.class, outcome = excluded.outcome,"
    " ending = excluded.ending, caller = excluded.caller, dialled = excluded.dialled, booked = excluded.booked"
)


class Source:
    """One source while the ledger is open."""

    def __init__(self, source_id: int, name: str, kind: Kind, settling: Settling, pruned_before_ms: int) -> None:
        self.id = source_id
        self.pruned_before_ms = pruned_before_ms
        self.name = name
        self.kind = kind
        self.settling = settling
        self.decode_leg = msgspec.msgpack.Decoder(kind.leg).decode


class Metered(Struct, gc=False):
    """A call that is metered: what is booked of it, and its legs where they are at hand."""

    booked: Booked
    legs: dict[str, Leg] | None = None


class Work:
    """What one transaction is going to write."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.events: list[MicroTransaction] = []
        self.calls: dict[tuple[int, str], tuple[Any, ...]] = {}
        self.metered: dict[tuple[int, str], Metered] = {}
        self.settled: list[tuple[int, str]] = []
        self.joined: list[Call] = []
        self.fresh: Counter[int] = Counter()


class Intake:
    """The writing end of the records' tables. Used only by the writer's thread, within its transaction."""

    def __init__(self, db: Database, meter: Meter, numbering: Numbering, max_rejects: int) -> None:
        self._db = db
        self._meter = meter
        self._numbering = numbering
        self._max_rejects = max_rejects
        self._seats = Seats(db, meter)
        self.sources: dict[str, Source] = {}

    # --- sources

    def open_source(self, name: str, kind: Kind, settle_ms: int, now_ms: int) -> bytes | None:
        """Make a source known and build its waiting calls anew. Returns its last durable checkpoint."""
        self._db.execute("INSERT OR IGNORE INTO source (name, kind) VALUES (?, ?)", (name, kind.name))
        source_id, checkpoint, time_ms, pruned_before_ms = self._db.execute(
            "SELECT id, checkpoint, time_ms, pruned_before_ms FROM source WHERE name = ?", (name,)
        ).fetchone()
        source = Source(source_id, name, kind, Settling(settle_ms, time_ms), pruned_before_ms)
        self._load_waiting(source, now_ms)
        self.sources[name] = source
        return checkpoint  # type: ignore[no-any-return]

    def load(self, now_ms: int) -> None:
        """After a rolled-back transaction: forget what is in memory and read it again."""
        self._seats.forget()
        for source in list(self.sources.values()):
            row = self._db.execute(
                "SELECT time_ms, pruned_before_ms FROM source WHERE id = ? AND name = ?", (source.id, source.name)
            ).fetchone()
            if row is None:  # it was opened in the very transaction that was taken back
                del self.sources[source.name]
                continue
            time_ms, source.pruned_before_ms = row
            source.settling = Settling(source.settling.settle_ms, time_ms)
            self._load_waiting(source, now_ms)

    def _load_waiting(self, source: Source, now_ms: int) -> None:
        rows = self._db.execute(
            "SELECT call_key, news_at_ms FROM settling WHERE source = ? ORDER BY news_at_ms", (source.id,)
        ).fetchall()
        for call_key, news_at_ms in rows:
            source.settling.start(call_key, self._legs(source, call_key), news_at_ms, now_ms).stored = True

    def _legs(self, source: Source, call_key: str) -> dict[str, Leg]:
        rows = self._db.execute("SELECT key, body FROM leg WHERE source = ? AND call_key = ?", (source.id, call_key))
        return {key: source.decode_leg(body) for key, body in rows}

    # --- one transaction

    def apply(self, items: Iterable[tuple[str, Batch]], now_ms: int) -> Work:
        """Keep the batches' records, meter what has settled, write it all."""
        work = Work(now_ms)
        waited = {source.id: frozenset(source.settling.calls) for source in self.sources.values()}
        for name, batch in items:
            self._keep(self.sources[name], batch, work)
        for source in self.sources.values():
            due = source.settling.due(now_ms)
            # What began to wait in this transaction was recalled when its legs were kept.
            self._recall_metered(source, [key for key in due if key in waited[source.id]], work)
            for call_key in due:
                self._meter_call(source, call_key, work)
        self._store_waiting(work)
        self._write(work)
        return work

    def waiting(self) -> int:
        return sum(len(source.settling.calls) for source in self.sources.values())

    def _keep(self, source: Source, batch: Batch, work: Work) -> None:
        legs = [record for record in batch.records if isinstance(record, Leg)]
        legs_given = len(legs)
        if source.pruned_before_ms:
            legs = self._without_stale(source, legs)
        counts = {"legs": self._keep_legs(source, legs, work) if legs else 0, "registrations": 0}
        counts.update(feature_uses=0, risks=0)
        if legs_given != len(batch.records):
            for record in batch.records:
                if isinstance(record, Registration):
                    counts["registrations"] += self._keep_registration(source, record)
                    if use := self._meter.device_use(record):
                        counts["feature_uses"] += self._keep_feature_use(source, use, work)
                elif isinstance(record, FeatureUse):
                    counts["feature_uses"] += self._keep_feature_use(source, record, work)
                elif isinstance(record, Risk):
                    counts["risks"] += self._keep_risk(source, record, work)
        settling = source.settling
        settling.heard(batch.source_time_ms, work.now_ms)
        rejects = self._keep_rejects(source, batch.rejects, work.now_ms)
        self._db.execute(
            "UPDATE source SET checkpoint = coalesce(?, checkpoint), time_ms = ?, heard_at_ms = ?, legs = legs + ?,"
            " registrations = registrations + ?, feature_uses = feature_uses + ?, risks = risks + ?, rejects = rejects + ?"
            " WHERE id = ?",
            (batch.checkpoint, settling.source_time_ms, work.now_ms, *counts.values(), rejects, source.id),
        )

    # --- legs and calls

    def _without_stale(self, source: Source, legs: list[Leg]) -> list[Leg]:
        """What began before the horizon was metered and pruned long ago: were it kept, it would be counted again."""
        fresh = [leg for leg in legs if leg.started_at_ms >= source.pruned_before_ms]
        if len(fresh) < len(legs):
            self._db.execute("UPDATE source SET stale = stale + ? WHERE id = ?", (len(legs) - len(fresh), source.id))
        return fresh

    def _keep_legs(self, source: Source, legs: Sequence[Leg], work: Work) -> int:
        self._recall_metered(source, list(dict.fromkeys([leg.call_key for leg in legs])), work)
        settling, metered, now_ms = source.settling, work.metered, work.now_ms
        for leg in legs:
            call_key = leg.call_key
            if settling.settled(call_key):
                self._meter_call(source, call_key, work)
            if metered and call_key not in settling.calls and (known := metered.get((source.id, call_key))) is not None:
                held = known.legs if known.legs is not None else self._legs(source, call_key)
                settling.start(call_key, dict(held), settling.source_time_ms, now_ms)
            settling.add(leg, now_ms)
        return insert(
            self._db.conn,
            "INSERT OR IGNORE INTO leg (source, call_key, key, body)",
            [(source.id, leg.call_key, leg.key, _encode(leg)) for leg in legs],
        )

    def _recall_metered(self, source: Source, call_keys: Sequence[str], work: Work) -> None:
        """Fetch what is booked of those calls that were metered in earlier transactions."""
        if not call_keys:
            return
        rows = self._db.execute(
            "SELECT key, booked FROM call WHERE source = ? AND key IN (SELECT value FROM json_each(?))",
            (source.id, _json(call_keys).decode()),
        )
        for key, booked in rows:
            work.metered.setdefault((source.id, key), Metered(_decode_booked(booked)))

    def _meter_call(self, source: Source, call_key: str, work: Work) -> None:
        gathering = source.settling.calls.pop(call_key)
        work.settled.append((source.id, call_key))
        place = (source.id, call_key)
        known = work.metered.get(place)
        if known is None:
            work.fresh[source.id] += 1
        try:
            call = source.kind.join(tuple(gathering.legs.values()))
        except Exception as error:  # a fault in one vendor's join must not stop the site; its legs are kept
            self._keep_rejects(source, (_unjoinable(call_key, error),), work.now_ms)
            return
        if not (EARLIEST_MS <= call.started_at_ms <= LATEST_MS and 0 <= call.talk_ms <= LATEST_MS):
            self._keep_rejects(source, (_unmeterable(call),), work.now_ms)
            return
        charge = self._meter.call(call)
        booking = book(self._meter.site.id, source.name, charge, known.booked if known else NOTHING)
        work.events += booking.events
        work.joined.append(call)
        work.metered[place] = Metered(booking.booked, gathering.legs)
        self._seats.change(booking.gained, booking.lost)
        work.calls[place] = (
            source.id,
            call_key,
            call.started_at_ms,
            call.talk_ms,
            charge.billed_s,
            call.answered_at_ms is not None,
            charge.call_class,
            call.outcome,
            call.ending,
            "anonymous" if self._meter.is_withheld(call) else call.caller.number or call.caller.endpoint,
            call.dialled,
            _encode(booking.booked),
        )

    def _store_waiting(self, work: Work) -> None:
        """A call may have settled and wait again in one transaction: what settled goes first, then what waits is written."""
        self._db.conn.executemany("DELETE FROM settling WHERE source = ? AND call_key = ?", work.settled)
        for source in self.sources.values():
            fresh = [(key, call) for key, call in source.settling.calls.items() if not call.stored]
            for _, call in fresh:
                call.stored = True
            self._db.conn.executemany(
                "INSERT OR REPLACE INTO settling (source, call_key, news_at_ms) VALUES (?, ?, ?)",
                [(source.id, key, call.news_at_ms) for key, call in fresh],
            )

    # --- what belongs to no call

    def _keep_registration(self, source: Source, record: Registration) -> int:
        cursor = self._db.execute(
            "INSERT OR IGNORE INTO registration (source, key, endpoint, contact, at_ms, expires_at_ms, state, user_agent,"
            " device) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                source.id,
                record.key,
                record.endpoint,
                record.contact,
                record.at_ms,
                record.expires_at_ms,
                record.state,
                record.user_agent,
                record.device,
            ),
        )
        if cursor.rowcount == 1:
            self._seats.change(self._meter.registration(record).seats, ())
        return cursor.rowcount

    def _keep_feature_use(self, source: Source, use: FeatureUse, work: Work) -> int:
        record = self._meter.dated(use)
        cursor = self._db.execute(
            "INSERT OR IGNORE INTO feature_use (source, key, code, endpoint, at_ms, segments) VALUES (?, ?, ?, ?, ?, ?)",
            (source.id, record.key, record.code, record.endpoint, record.at_ms, record.segments),
        )
        if cursor.rowcount == 1:
            booking = book(self._meter.site.id, source.name, self._meter.feature(record))
            work.events += booking.events
            self._seats.change(booking.gained, ())
        return cursor.rowcount

    def _keep_risk(self, source: Source, record: Risk, work: Work) -> int:
        cursor = self._db.execute(
            "INSERT OR IGNORE INTO risk (source, key, code, origin, endpoint, at_ms, until_ms, count, detail)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                source.id,
                record.key,
                record.code,
                record.origin,
                record.endpoint,
                record.at_ms,
                record.until_ms,
                record.count,
                record.detail,
            ),
        )
        if cursor.rowcount == 1:
            work.events += book(self._meter.site.id, source.name, self._meter.risk(record)).events
        return cursor.rowcount

    def _keep_rejects(self, source: Source, rejects: Sequence[Reject], now_ms: int) -> int:
        if not rejects:
            return 0
        cursor = self._db.conn.executemany(
            "INSERT OR IGNORE INTO reject (source, key, at_ms, reason, message, position, excerpt)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(source.id, r.key, r.at_ms or now_ms, r.reason, r.message, r.position, r.excerpt) for r in rejects],
        )
        kept = cursor.rowcount
        dropped = self._db.execute(
            "DELETE FROM reject WHERE id <= (SELECT max(id) FROM reject) - ?", (self._max_rejects,)
        ).rowcount
        if dropped:
            self._db.execute(
                "UPDATE source SET rejects_dropped = rejects_dropped + ? WHERE id = ?", (dropped, source.id)
            )
        return kept

    # --- writing

    def _write(self, work: Work) -> None:
        conn = self._db.conn
        work.events += self._seats.flush()
        corrections = sum(1 for event in work.events if event.corrects)
        self._numbering.append(work.events, work.now_ms)
        insert(conn, f"INSERT INTO call ({CALL_COLUMNS})", list(work.calls.values()), _CALL_AGAIN)
        for source_id, fresh in work.fresh.items():
            self._db.execute("UPDATE source SET calls = calls + ? WHERE id = ?", (fresh, source_id))
        if corrections:
            self.count("corrections", corrections)

    def count(self, name: str, by: int) -> None:
        self._db.execute(
            "INSERT INTO counter (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (name, by),
        )


def _set_aside(reason: str, call_key: str, message: str) -> Reject:
    """What is kept of a call that cannot be metered; its legs are kept besides."""
    return Reject(
        key=f"{reason}:{call_key}",
        reason=reason,
        message=message,
        excerpt=call_key.encode()[:EXCERPT_MAX_BYTES],
        position=f"call {call_key}",
    )


def _unmeterable(call: Call) -> Reject:
    message = f"began at {call.started_at_ms} ms and was talked for {call.talk_ms} ms; its legs are kept"
    return _set_aside("unmeterable", call.key, message)


def _unjoinable(call_key: str, error: Exception) -> Reject:
    message = f"the legs of this call could not be joined ({type(error).__name__}: {error}); they are kept"
    return _set_aside("unjoinable", call_key, message)
