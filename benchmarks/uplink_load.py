"""The load of the uplink's benchmark: a ledger with a backlog of events such as calls make, and the same as batches.

Law: the same each time. Events are spread over 200 phones, and over 30 days (a backlog) or one (many sites); each call makes a
`call` and its `voice.minutes`.
"""

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from msgspec import Struct

from agent.config.tables import Ledger as LedgerSettings
from agent.ledger.store import open_for_reading
from agent.ledger.writer import Ledger
from agent.metering.rules import Metering, Site
from uplink.batch import EVENTS_MAX, Head, build, chain_through
from uplink.events import CHAIN_START, MicroTransaction, encode, event_id, timed_id

TOKEN = "benchmark"
SITE = Site(id="018f2f6c-0000-7000-8000-00000000be7c", provider="msp")
BEGAN_MS = 1_793_000_000_000
DAY_MS = 86_400_000
MONTH_MS = 30 * DAY_MS
PHONES = 200
GROUP = 10_000


def calls(count: int, site: str, span_ms: int) -> Iterator[MicroTransaction]:
    """`count` events (an even number) of one site's calls, in the order in which they end; the same each time."""
    chance = random.Random(count)
    for number in range(count // 2):
        time_ms = BEGAN_MS + span_ms * 2 * number // count
        reference = event_id(site, "pbx", f"call-{number}")
        phone, outside = str(100 + chance.randrange(PHONES)), f"+1212555{chance.randrange(10**4):04}"
        seconds = chance.randrange(5, 600)
        about: dict[str, str | int] = {"call": reference, "class": "national"}
        talk: dict[str, str | int] = {"billed_s": seconds, "talk_ms": seconds * 1000}
        ends: dict[str, str | int] = {"caller": phone, "dialled": outside, "answered_by": outside}
        parts = (
            ("call", "1", "call", {**about, "outcome": "answered", "talk_ms": seconds * 1000, **ends}),
            ("voice.minutes", f"{seconds / 60:.6f}", "min", {**about, **talk}),
        )
        for slot, (meter, quantity, unit, data) in enumerate(parts):
            yield MicroTransaction(
                id=timed_id(time_ms, reference, SITE, slot),
                meter=meter,
                subject=phone,
                time_ms=time_ms,
                quantity=quantity,
                unit=unit,
                data=data,
            )


def backlog(folder: Path, count: int) -> Path:
    """A ledger that holds `count` events, none of them sent."""
    settings = LedgerSettings(path=str(folder / "ledger.db"))
    ledger = Ledger.open(settings, SITE, Metering(), lambda: BEGAN_MS + MONTH_MS)
    events = calls(count, SITE.id, MONTH_MS)
    while group := list(islice(events, GROUP)):
        ledger.do(lambda _db, group=group: ledger.numbering.append(group, BEGAN_MS + MONTH_MS)).result(60)
    ledger.close()
    return ledger.path


class Posts(Struct, frozen=True):
    """What one site posts: where to, how many events in all, and each batch's header fields and body."""

    path: str
    events: int
    batches: list[tuple[dict[str, str], bytes]]


def of_ledger(ledger: Path) -> Posts:
    """The backlog of a ledger, in the batches that its agent would make."""
    db = open_for_reading(ledger)
    (epoch,) = db.execute("SELECT id FROM epoch").fetchone()
    rows = db.execute("SELECT body FROM event ORDER BY line")
    bodies = iter([body for (body,) in rows.fetchall()])
    return _posts(SITE.id, epoch, bodies)


def of_sites(count: int, events_each: int) -> list[Posts]:
    """`count` sites with a backlog of so many events (an even number) each."""
    return [_of_site(f"site-{number:05}", events_each) for number in range(count)]


def _of_site(site: str, count: int) -> Posts:
    made = (
        encode(event, f"urn:msp:site:{site}", "e-1", seq, BEGAN_MS + DAY_MS)
        for seq, event in enumerate(calls(count, site, DAY_MS), 1)
    )
    return _posts(site, "e-1", made)


def _posts(site: str, epoch: str, bodies: Iterator[bytes]) -> Posts:
    batches: list[tuple[dict[str, str], bytes]] = []
    sent, prev = 0, CHAIN_START
    while group := list(islice(bodies, EVENTS_MAX)):
        chain = chain_through(prev, group)
        first, sent = sent + 1, sent + len(group)
        head = Head(
            epoch=epoch, first=first, last=sent, count=len(group), prev=prev, chain=chain, head_time_s=BEGAN_MS // 1000
        )
        batch = build(head, group)
        batches.append(({"Authorization": f"Bearer {TOKEN}", **batch.headers}, batch.body))
        prev = chain
    return Posts(f"/v1/sites/{site}/batches", sent, batches)
