"""Asterisk's time stamps: local text to milliseconds since the epoch, and in which zone they are.

Laws
- `YYYY-MM-DD HH:MM:SS` and nothing else is a stamp. Seconds are added to the minute they are in, and minutes are kept,
  so that a stamp costs two dictionary look-ups.
- An hour that the clocks repeat is told apart by what else the row says: the seconds between its stamps, and the
  second at which the channel was made, which its unique id holds (`[system-]second.number`).
- The zone is the source's (`timezone`); `auto` finds it in the rows: the unique id is in UTC, the start is not.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

MINUTES_CACHED = 4096
"""Minutes of almost three days: rows of one batch lie close together."""

SECONDS = {f"{second:02d}": second * 1000 for second in range(61)}
_QUARTER_S = 900
SLACK_S = 90
"""A row's start within this after its channel was made says which zone it is in. Rows of a call's later parts say
nothing: their channel is older."""
VOTES_NEEDED = 3
"""Rows that must agree on an offset that is neither the site's nor UTC's."""
SAMPLE_ROWS = 20
"""Rows of a batch that are asked for the zone."""


class NoStamp(ValueError):
    """The text is not `YYYY-MM-DD HH:MM:SS`."""


class Stamps:
    """The stamps of one zone. `minutes` holds the milliseconds of the minutes met so far (`YYYY-MM-DD HH:MM:`) that are one
    instant each: with `SECONDS` they give most stamps by two look-ups. `learn` deals with all others."""

    def __init__(self, zone: tzinfo) -> None:
        self.zone = zone
        self.minutes: dict[str, int] = {}

    def learn(self, text: str) -> tuple[int, ...]:
        """Both instants that the text may be, or the one. Raises NoStamp."""
        try:
            minute = datetime.strptime(text[:17], "%Y-%m-%d %H:%M:")
        except ValueError:
            raise NoStamp(text) from None
        second = SECONDS.get(text[17:])
        if second is None or minute.strftime("%Y-%m-%d %H:%M:") != text[:17] or not 1900 < minute.year < 9999:
            raise NoStamp(text)
        instants = sorted({_ms(minute.replace(tzinfo=self.zone, fold=fold)) for fold in (0, 1)})
        if len(instants) == 2 and self._is_gap(minute):
            instants = instants[1:]
        if len(instants) == 1:
            if len(self.minutes) >= MINUTES_CACHED:
                self.minutes.clear()
            self.minutes[text[:17]] = instants[0]
        return tuple(instant + second for instant in instants)

    def _is_gap(self, minute: datetime) -> bool:
        """A wall-clock time that the clocks skipped does not come back the same from UTC."""
        there = minute.replace(tzinfo=self.zone).astimezone(UTC).astimezone(self.zone)
        return there.replace(tzinfo=None) != minute


def _ms(moment: datetime) -> int:
    return round(moment.timestamp()) * 1000


def nearest(instants: tuple[int, ...], hint_ms: int | None) -> int:
    """The instant that is nearest to the hint; the first one where there is no hint."""
    return instants[0] if hint_ms is None else min(instants, key=lambda instant: abs(instant - hint_ms))


@lru_cache(256)
def made_at_s(uniqueid: str) -> int | None:
    """The second at which a channel was made: `1795172587.0`, `pbx-1-1795172587.12`. None where it is not told."""
    digits = uniqueid.rpartition(".")[0].rpartition("-")[2]
    return int(digits) if len(digits) == 10 and digits.isdigit() and digits.isascii() else None


@lru_cache(64)
def zone_named(name: str) -> tzinfo:
    """`UTC`, an IANA name, or an offset as `zone_found` gives it (`+02:00`). Raises KeyError or ValueError."""
    if name[:1] in ("+", "-"):
        sign = -1 if name[0] == "-" else 1
        return timezone(sign * timedelta(hours=int(name[1:3]), minutes=int(name[4:6])))
    return ZoneInfo(name)


def zone_found(rows: Iterable[tuple[str, str]], site: str) -> str:
    """The zone in which stamps are written, from pairs of (unique id, start): `site`, `UTC` (`usegmtime=yes`) or an offset
    (`-06:00`). Empty where the rows do not tell, as in winter where the site's zone is UTC's twin."""
    votes: Counter[int] = Counter()
    example: dict[int, tuple[int, int]] = {}
    utc = Stamps(UTC)
    for uniqueid, start in rows:
        made = made_at_s(uniqueid)
        try:
            wall = utc.learn(start)[0] // 1000
        except NoStamp:
            continue
        if made is None:
            continue
        offset, delay = divmod(wall - made + 2, _QUARTER_S)
        if delay <= SLACK_S:
            votes[offset * _QUARTER_S] += 1
            example[offset * _QUARTER_S] = (made, wall)
    return _verdict(votes, example, site)


def _verdict(votes: Counter[int], example: dict[int, tuple[int, int]], site: str) -> str:
    if not votes:
        return ""
    offset, count = votes.most_common(1)[0]
    made, _ = example[offset]
    here = datetime.fromtimestamp(made, zone_named(site)).utcoffset()
    if here is not None and round(here.total_seconds()) == offset:
        return site if offset or site == "UTC" else ""
    if offset == 0:
        return "UTC"
    sure = count >= VOTES_NEEDED and count * 2 > votes.total() and abs(offset) <= 14 * 3600
    return f"{'-' if offset < 0 else '+'}{abs(offset) // 3600:02d}:{abs(offset) % 3600 // 60:02d}" if sure else ""
