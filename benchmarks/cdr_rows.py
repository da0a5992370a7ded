"""A Master.csv of any length, as a busy office writes it, with what it must come to.

`generate(rows)` is deterministic: the same number gives the same bytes. 21 columns, UTC; about 85 % of the calls are one row
(answered, unanswered, busy, over the trunk, IVR), the others ring groups of three, voicemail, blind transfers and queues.
Rows stand in the order in which they would have been written: by the end of the caller's leg.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from random import Random

START_S = 1_767_605_400
"""2026-01-05 09:30:00 UTC."""
EXTENSIONS = [str(number) for number in range(100, 400)]
CALLS_A_SECOND = 4


@dataclass(frozen=True)
class Generated:
    """The file's bytes, how many rows and calls are in it, how many calls were answered and for how long in all."""

    data: bytes
    rows: int
    calls: int
    answered: int
    talk_s: int


@dataclass
class _Call:
    """A call being written: its rows with the second of their writing, and the time connected."""

    start: int
    uid: str
    number: int
    random: Random
    talk_s: int = 0
    rows: list[str] = field(default_factory=list)

    def row(
        self,
        a: str,
        dst: str,
        b: str,
        app: str,
        data: str,
        start: int,
        answer: int | None,
        end: int,
        how: str,
        src: str = "",
    ) -> None:
        src = src or a
        channel = f"PJSIP/{a}-{self.number:08x}"
        other = f"PJSIP/{b}-{self.number + len(self.rows) + 1:08x}" if b else ""
        answered = f'"{stamp(answer)}"' if answer is not None else ""
        billed = end - answer if answer is not None else 0
        self.rows.append(
            f'"","{src}","{dst}","office","""Phone {src}"" <{src}>","{channel}","{other}","{app}","{data}",'
            f'"{stamp(start)}",{answered},"{stamp(end)}",{end - start},{billed},"{how}","DOCUMENTATION",'
            f'"{self.uid}","","","{self.uid}",{self.number + len(self.rows)}\n'
        )


@lru_cache(100_000)
def stamp(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _answered(call: _Call, a: str, b: str) -> int:
    rings, talks = call.random.randint(1, 12), call.random.randint(3, 600)
    answer = call.start + rings
    call.row(a, b, b, "Dial", f"PJSIP/{b},20,tT", call.start, answer, answer + talks, "ANSWERED")
    call.talk_s = talks
    return answer + talks


def _unanswered(call: _Call, a: str, b: str) -> int:
    end = call.start + call.random.randint(2, 20)
    call.row(a, b, b, "Dial", f"PJSIP/{b},20,tT", call.start, None, end, "NO ANSWER")
    return end


def _busy(call: _Call, a: str, b: str) -> int:
    call.row(a, b, b, "Dial", f"PJSIP/{b},20,tT", call.start, None, call.start, "BUSY")
    return call.start


def _outbound(call: _Call, a: str, b: str) -> int:
    number = f"+1212555{call.random.randint(0, 9999):04d}"
    rings, talks = call.random.randint(3, 15), call.random.randint(3, 900)
    answer = call.start + rings
    data = f"PJSIP/{number}@carrier,30"
    call.row(a, number, "carrier", "Dial", data, call.start, answer, answer + talks, "ANSWERED")
    call.talk_s = talks
    return answer + talks


def _inbound(call: _Call, a: str, b: str) -> int:
    src = f"+1415555{call.random.randint(0, 9999):04d}"
    rings, talks = call.random.randint(1, 12), call.random.randint(3, 600)
    answer = call.start + rings
    call.row("carrier", b, b, "Dial", f"PJSIP/{b},20", call.start, answer, answer + talks, "ANSWERED", src)
    call.talk_s = talks
    return answer + talks


def _menu(call: _Call, a: str, b: str) -> int:
    talks = call.random.randint(2, 40)
    call.row(a, "s", "", "BackGround", "welcome", call.start, call.start, call.start + talks, "ANSWERED")
    call.talk_s = talks
    return call.start + talks


def _ring_group(call: _Call, a: str, b: str) -> int:
    members = call.random.sample(EXTENSIONS, 3)
    data = "&".join(f"PJSIP/{member}" for member in members) + ",20"
    answer = call.start + call.random.randint(1, 12)
    end = answer + call.random.randint(3, 300)
    call.row(a, "600", members[0], "Dial", data, call.start, answer, end, "ANSWERED")
    for member in members[1:]:
        call.row(a, "600", member, "Dial", data, call.start, None, answer, "NO ANSWER")
    call.talk_s = end - answer
    return end


def _voicemail(call: _Call, a: str, b: str) -> int:
    rung = call.start + 20
    end = rung + call.random.randint(5, 60)
    call.row(a, b, b, "Dial", f"PJSIP/{b},20", call.start, None, rung, "NO ANSWER")
    call.row(a, b, "", "VoiceMail", f"{b}@default,u", rung, rung, end, "ANSWERED")
    call.talk_s = end - rung
    return end


def _transfer(call: _Call, a: str, b: str) -> int:
    c = call.random.choice([one for one in EXTENSIONS[:50] if one not in (a, b)])
    answer = call.start + call.random.randint(1, 9)
    moved = answer + call.random.randint(5, 60)
    end = moved + call.random.randint(5, 300)
    call.row(a, b, b, "Dial", f"PJSIP/{b},20,tT", call.start, answer, moved, "ANSWERED")
    call.row(a, c, c, "Dial", f"PJSIP/{c},20,tT", moved, moved, end, "ANSWERED")
    call.talk_s = end - answer
    return end


def _queue(call: _Call, a: str, b: str) -> int:
    agents = call.random.sample(EXTENSIONS, 2)
    picked = call.start + call.random.randint(2, 60)
    end = picked + call.random.randint(10, 600)
    call.row(a, "700", agents[0], "Queue", "support", call.start, call.start, end, "ANSWERED")
    call.row(a, "700", agents[1], "Queue", "support", call.start, call.start, picked, "NO ANSWER")
    call.talk_s = end - call.start
    return end


MIX: tuple[tuple[int, Callable[[_Call, str, str], int]], ...] = (
    (30, _answered),
    (12, _unanswered),
    (5, _busy),
    (20, _outbound),
    (12, _inbound),
    (6, _menu),
    (5, _ring_group),
    (4, _voicemail),
    (3, _transfer),
    (3, _queue),
)
"""Per cent of the calls."""


def generate(rows: int, seed: int = 1) -> Generated:
    """At least `rows` rows, in whole calls."""
    random = Random(seed)
    kinds = [kind for share, kind in MIX for _ in range(share)]
    written: list[tuple[int, int, str]] = []
    calls = answered = talk_s = channels = 0
    while len(written) < rows:
        start = START_S + calls // CALLS_A_SECOND
        call = _Call(start, f"{start}.{channels}", channels, random)
        a, b = random.sample(EXTENSIONS, 2)
        end = random.choice(kinds)(call, a, b)
        text = "".join(call.rows)
        written += [(end, calls, row) for row in call.rows] if text else []
        calls, channels = calls + 1, channels + len(call.rows) + 2
        answered += call.talk_s > 0
        talk_s += call.talk_s
    written.sort(key=lambda entry: entry[:2])
    data = "".join(row for _, _, row in written).encode()
    return Generated(data, len(written), calls, answered, talk_s)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m benchmarks.cdr_rows ROWS FILE")
    made = generate(int(sys.argv[1]))
    Path(sys.argv[2]).write_bytes(made.data)
    print(f"{made.rows} rows, {made.calls} calls, {made.answered} answered, {made.talk_s} s connected", file=sys.stderr)
