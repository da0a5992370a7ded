"""Rows of Master.csv, as Asterisk 12 and later write them: 21 columns, times in UTC.

Sources: Asterisk's cdr_csv (the order of the columns, strings in quotes, a missing date as nothing), its cdr.conf with
`loguniqueid`, `loguserfield`, `newcdrcolumns` and `usegmtime`, and the CDR specification (one row for each pair of a
calling and a called channel; all rows of a call are written when its caller's channel is gone).
"""

from datetime import UTC, datetime

from msgspec import Struct

from agent.demo.office import DESKS, QUEUE, PlayedCall

TRUNK = "carrier"


class _Part(Struct, frozen=True, kw_only=True):
    """One pair of channels: from when to when, and what the caller's channel ran."""

    to: str
    start_ms: int
    end_ms: int
    answer_ms: int | None
    disposition: str = "ANSWERED"
    app: str = "Dial"
    data: str = ""
    dst: str = ""


class AsteriskRows:
    """Numbers channels and rows as one Asterisk process does."""

    def __init__(self) -> None:
        self._channels = 0
        self._sequence = 0

    def rows(self, call: PlayedCall) -> str:
        """All rows of a call, line ends included."""
        device = TRUNK if call.outside else call.caller
        channel = self._channel(device)
        return "".join(self._row(call, channel, part) for part in _parts(call))

    def _channel(self, device: str) -> str:
        self._channels += 1
        return f"PJSIP/{device}-{self._channels:08x}"

    def _row(self, call: PlayedCall, channel: str, part: _Part) -> str:
        self._sequence += 1
        name = DESKS["cdr"].get(call.caller, "")
        talk_ms = 0 if part.answer_ms is None else part.end_ms - part.answer_ms
        columns = [
            _text(""),
            _text(call.caller),
            _text(part.dst or call.dialled),
            _text("from-carrier" if call.outside else "office"),
            _text(f'"{name}" <{call.caller}>'),
            _text(channel),
            _text(self._channel(part.to) if part.to else ""),
            _text(part.app),
            _text(part.data),
            _text(_stamp(part.start_ms)),
            "" if part.answer_ms is None else _text(_stamp(part.answer_ms)),
            _text(_stamp(part.end_ms)),
            str((part.end_ms - part.start_ms) // 1000),
            str(talk_ms // 1000),
            _text(part.disposition),
            _text("DOCUMENTATION"),
            _text(call.key),
            _text(""),
            _text(""),
            _text(call.key),
            str(self._sequence),
        ]
        return ",".join(columns) + "\n"


def _text(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _stamp(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _parts(call: PlayedCall) -> list[_Part]:
    if call.kind == "ring group":
        return _group(call)
    if call.kind == "voicemail":
        return _voicemail(call)
    if call.kind == "queue":
        return _queue(call)
    if call.kind == "transfer":
        return _transfer(call)
    return [_whole(call)]


DISPOSITIONS = {"answered": "ANSWERED", "no_answer": "NO ANSWER", "busy": "BUSY", "cancelled": "NO ANSWER"}


def _whole(call: PlayedCall) -> _Part:
    """A call of one part. Behind a menu too: the same row goes on when the caller's channel comes to dial."""
    outward = call.answered_by not in DESKS["cdr"] and not call.rings
    to = TRUNK if outward else call.rings[0]
    return _Part(
        to=to,
        start_ms=call.started_at_ms,
        answer_ms=call.answered_at_ms,
        end_ms=call.ended_at_ms,
        disposition=DISPOSITIONS[call.outcome],
        data=f"PJSIP/{call.dialled}@{TRUNK},60" if outward else f"PJSIP/{to},20",
    )


def _group(call: PlayedCall) -> list[_Part]:
    """All members ring; when one answers, the others' rows end unanswered."""
    data = "&".join(f"PJSIP/{desk}" for desk in call.rings) + ",20"
    assert call.answered_at_ms is not None
    won, answer_ms = call.answered_by, call.answered_at_ms
    lost = [
        _Part(
            to=desk, start_ms=call.started_at_ms, end_ms=answer_ms, answer_ms=None, disposition="NO ANSWER", data=data
        )
        for desk in call.rings
        if desk != won
    ]
    return [*lost, _Part(to=won, start_ms=call.started_at_ms, end_ms=call.ended_at_ms, answer_ms=answer_ms, data=data)]


def _voicemail(call: PlayedCall) -> list[_Part]:
    desk, beep_ms = call.rings[0], call.turned_at_ms
    start_ms, data = call.started_at_ms, f"PJSIP/{call.rings[0]},{(call.turned_at_ms - call.started_at_ms) // 1000}"
    rang = _Part(to=desk, start_ms=start_ms, end_ms=beep_ms, answer_ms=None, disposition="NO ANSWER", data=data)
    left = _Part(
        to="", start_ms=beep_ms, end_ms=call.ended_at_ms, answer_ms=beep_ms, app="VoiceMail", data=f"{desk}@default,u"
    )
    return [rang, left]


def _queue(call: PlayedCall) -> list[_Part]:
    """The caller's channel is up from the start, so that the row of an agent who did not answer has billed seconds too."""
    first, second = call.rings
    data, turn_ms = "support,,,,60", call.turned_at_ms
    return [
        _Part(
            to=first,
            start_ms=call.started_at_ms,
            end_ms=turn_ms,
            answer_ms=call.started_at_ms,
            disposition="NO ANSWER",
            app="Queue",
            data=data,
            dst=QUEUE,
        ),
        _Part(
            to=second, start_ms=turn_ms, end_ms=call.ended_at_ms, answer_ms=turn_ms, app="Queue", data=data, dst=QUEUE
        ),
    ]


def _transfer(call: PlayedCall) -> list[_Part]:
    """Blind: the caller's channel, already up, dials on."""
    moved_ms, other = call.turned_at_ms, call.moved_to
    before = _Part(
        to=call.answered_by,
        start_ms=call.started_at_ms,
        end_ms=moved_ms,
        answer_ms=call.answered_at_ms,
        data=f"PJSIP/{call.answered_by},20,tT",
    )
    after = _Part(
        to=other,
        start_ms=moved_ms,
        end_ms=call.ended_at_ms,
        answer_ms=moved_ms,
        data=f"PJSIP/{other},20,tT",
        dst=other,
    )
    return [before, after]
