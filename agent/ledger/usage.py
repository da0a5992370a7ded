"""What was used in each of the site's months, summed up from the ledger's own events: the table `usage`.

Laws
- The sums are those of the events up to a line, which stands beside them and moves in the same transaction: each event is
  counted once, whenever the counting goes on. What a new epoch writes again is the same event, and is passed over.
- Counting follows intake, and takes no part in it: it is done where there is a rate card, in steps, beside other work.
- An event belongs to the site's month of its time. A correction has the time of what it corrects.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct
from sqlite_utils import Database

from agent.metering.corrections import DETAIL_NAMES
from agent.metering.days import day_bounds, local_day
from agent.rating.card import QUANTITY_DIGITS, scaled
from agent.rating.rate import Use
from uplink.events import decode_head, time_ms

STEP_EVENTS = 2_000
"""In one transaction: some 15 ms, so that intake is not kept waiting."""
SEAT_DAY, SEAT_MONTH = "seat.day", "seat.month"
RISK = "risk."
_LINE, _FROM = "usage_line", "usage_from_ms"
"""Counters: the line up to which events are counted, and, where older ones of that month had been pruned, when the first was
recorded."""

_Key = tuple[str, str, str, str, str, str]


class Counted(Struct, frozen=True):
    """How far: `waiting` events are not counted yet. `from_ms`: when the first one was recorded, if some before it are gone."""

    waiting: int
    from_ms: int


def count_step(db: Database, timezone: str, now_ms: int) -> int:
    """Count some more, within the writer's transaction; returns how many events it was (0: all are counted)."""
    (newest,) = db.execute("SELECT coalesce(max(line), 0) FROM event").fetchone()
    after = _counter(db, _LINE)
    if newest == after:
        return 0
    if newest - after > STEP_EVENTS or after == 0:
        after = _begin(db, after, day_bounds(f"{_month(now_ms, timezone)}-01", timezone)[0])
    rows = db.execute(
        "SELECT line, body, line <= epoch.after_line + epoch.reissued FROM event JOIN epoch ON epoch.n = event.epoch"
        " WHERE line > ? ORDER BY line LIMIT ?",
        (after, STEP_EVENTS),
    ).fetchall()
    sums: dict[_Key, int] = {}
    for _, body, again in rows:
        if not again:
            _add(sums, body, timezone)
    db.conn.executemany(
        "INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
        [(*key, amount) for key, amount in sums.items()],
    )
    _set(db, _LINE, rows[-1][0])
    return len(rows)


def prune_months(db: Database, before_ms: int, timezone: str) -> None:
    db.execute("DELETE FROM usage WHERE month < ?", (_month(before_ms, timezone),))


def counted(db: Database) -> Counted:
    (newest,) = db.execute("SELECT coalesce(max(line), 0) FROM event").fetchone()
    return Counted(newest - _counter(db, _LINE), _counter(db, _FROM))


def uses(db: Database, month: str, levels: Sequence[str], seat_months: bool) -> Iterator[Use]:
    """What was used in a month, by meter and by what is told of it. `seat_months`: also how many seats there were, each at its
    highest level; `levels` are their names from the lowest on."""
    rows = db.execute(
        "SELECT meter, class, country, detail, sum(amount) FROM usage WHERE month = ?"
        " GROUP BY meter, class, country, detail HAVING sum(amount) != 0",
        (month,),
    )
    for meter, call_class, country, detail, amount in rows:
        told = {"class": call_class, "country": country, _DETAIL_KEYS.get(meter, ""): detail}
        yield Use(meter, amount, {key: value for key, value in told.items() if key and value})
    if seat_months:
        yield from _seat_months(db, month, levels)


def _seat_months(db: Database, month: str, levels: Sequence[str]) -> Iterator[Use]:
    """Levels that the configuration names no more are below the others."""
    rank = {level: place for place, level in enumerate(levels)}
    highest: dict[str, str] = {}
    rows = db.execute(
        "SELECT subject, detail FROM usage WHERE month = ? AND meter = ? AND amount > 0 ORDER BY detail",
        (month, SEAT_DAY),
    )
    for seat, level in rows:
        if seat not in highest or rank.get(level, -1) > rank.get(highest[seat], -1):
            highest[seat] = level
    seats: dict[str, int] = {}
    for level in highest.values():
        seats[level] = seats.get(level, 0) + 1
    unit = 10**QUANTITY_DIGITS
    for level, count in seats.items():
        yield Use(SEAT_MONTH, count * unit, {"level": level} if level else {})


_DETAIL_KEYS = {**DETAIL_NAMES, SEAT_DAY: "level"}
"""meter -> the attribute of its events that is kept as `detail`."""


def _add(sums: dict[_Key, int], body: bytes, timezone: str) -> None:
    head = decode_head(body)
    if head.type.startswith(RISK):
        return
    data = head.data
    key = (
        _month(time_ms(head.time), timezone),
        head.type,
        str(data.get("class", "")),
        str(data.get("country", "")),
        str(data.get(_DETAIL_KEYS.get(head.type, ""), "")),
        head.subject if head.type == SEAT_DAY else "",
    )
    quantity = str(data["quantity"])
    amount = scaled(quantity.lstrip("-"), QUANTITY_DIGITS)
    sums[key] = sums.get(key, 0) + (-amount if quantity.startswith("-") else amount)


def _begin(db: Database, after: int, month_ms: int) -> int:
    """The line behind which counting goes on: what was recorded before the month is passed over. Notes where, at a beginning,
    that is not all of the month. Lines are in the order in which they were recorded, and none is missing between the first
    and the last."""
    low, high = db.execute("SELECT coalesce(min(line), 1), coalesce(max(line), 0) + 1 FROM event").fetchone()
    oldest = low
    while low < high:
        middle = (low + high) // 2
        (recorded_ms,) = db.execute("SELECT recorded_ms FROM event WHERE line = ?", (middle,)).fetchone()
        low, high = (middle + 1, high) if recorded_ms < month_ms else (low, middle)
    if 0 < after >= low - 1:
        return after
    first = db.execute("SELECT recorded_ms FROM event WHERE line = ?", (low,)).fetchone()
    _set(db, _FROM, first[0] if first and 1 < oldest == low else 0)
    return int(low) - 1


def _month(at_ms: int, timezone: str) -> str:
    return local_day(at_ms, timezone)[:7]


def _counter(db: Database, name: str) -> int:
    row = db.execute("SELECT value FROM counter WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0


def _set(db: Database, name: str, value: int) -> None:
    db.execute("INSERT OR REPLACE INTO counter (name, value) VALUES (?, ?)", (name, value))
