"""Rows of Master.csv for tests, written column by column."""

from collectors.asterisk_cdr.decode import Decoder
from collectors.asterisk_cdr.join import join
from collectors.asterisk_cdr.leg import AsteriskLeg
from collectors.records import Call

UID = "1767605400.1"
"""2026-01-05 09:30:00 UTC"""
DAY = "2026-01-05"
T0 = 1_767_605_400_000
"""09:30:00 of that day, in UTC, in ms."""


def line(
    *,
    a: str = "PJSIP/101-00000001",
    b: str = "PJSIP/102-00000002",
    src: str = "101",
    dst: str = "102",
    context: str = "office",
    app: str = "Dial",
    data: str = "PJSIP/102,20",
    start: str = "09:30:00",
    answer: str = "09:30:05",
    end: str = "09:31:05",
    billsec: int | None = None,
    how: str = "ANSWERED",
    uid: str = UID,
    linked: str = UID,
    sequence: int = 1,
    day: str = DAY,
) -> str:
    """One line of 21 columns; `billsec` is what the stamps say unless it is given."""
    talked = billsec if billsec is not None else (seconds(end) - seconds(answer) if answer else 0)
    answered = f'"{day} {answer}"' if answer else ""
    return (
        f'"","{src}","{dst}","{context}","""{src}"" <{src}>","{a}","{b}","{app}","{data}","{day} {start}",{answered},'
        f'"{day} {end}",{seconds(end) - seconds(start)},{talked},"{how}","DOCUMENTATION","{uid}","","","{linked}",{sequence}'
    )


def seconds(clock: str) -> int:
    hours, minutes, rest = (int(part) for part in clock.split(":"))
    return hours * 3600 + minutes * 60 + rest


def legs(*lines: str, trunks: tuple[str, ...] = ("carrier",)) -> list[AsteriskLeg]:
    found, rejects = Decoder("UTC", "UTC", trunks).decode(("\n".join(lines) + "\n").encode(), "Master.csv", 1, 1)
    assert rejects == []
    return found


def calls(*lines: str, trunks: tuple[str, ...] = ("carrier",)) -> list[Call]:
    """All calls that these lines make, in the order in which their first lines stand."""
    gathered: dict[str, list[AsteriskLeg]] = {}
    for leg in legs(*lines, trunks=trunks):
        gathered.setdefault(leg.call_key, []).append(leg)
    return [join(of_one) for of_one in gathered.values()]


def call(*lines: str, trunks: tuple[str, ...] = ("carrier",)) -> Call:
    (only,) = calls(*lines, trunks=trunks)
    return only


def used(of: Call) -> list[tuple[str, str]]:
    return [(use.code, use.endpoint) for use in of.features]
