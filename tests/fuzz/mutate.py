"""Bytes that are almost right: a seed with a few changes that respect how protocols are made, or just do not.

Laws
- The same seed and chance give the same bytes: what was found once is found again.
- What comes out has at most `INPUT_MAX_BYTES`, the largest message and the largest datagram.
"""

import random
import struct
from collections.abc import Callable, Sequence

from tests.fuzz.target import Target

INPUT_MAX_BYTES = 65_536
CHANGES_MAX = 5
REPEATS_MAX = 2_000

NUMBERS = (0, 1, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
WORDS = (
    *(
        b"\r\n",
        b"\n",
        b"\r\n ",
        b"\r\n\r\n",
        b"\0",
        b" ",
        b"\t",
        b",",
        b";",
        b":",
        b"<",
        b">",
        b'"',
        b"\\",
        b"@",
        b"%",
        b"=",
    ),
    *(b"\xff", b"\xc3\xa4", b"\xed\xa0\x80", b"-1", b"0", b"4294967296", b"9" * 40, b"%00", b"%", b";;", b",,"),
)

Change = Callable[[bytes, random.Random, Target, Sequence[bytes]], bytes]


def mutated(seeds: Sequence[bytes], chance: random.Random, target: Target) -> bytes:
    data = chance.choice(seeds)
    for _ in range(chance.randint(1, CHANGES_MAX)):
        data = changed(data, chance, target, seeds)
    return data


def changed(data: bytes, chance: random.Random, target: Target, seeds: Sequence[bytes]) -> bytes:
    change = chance.choice(OCTET_CHANGES if target.binary else TEXT_CHANGES)
    return change(data, chance, target, seeds)[:INPUT_MAX_BYTES]


def _place(data: bytes, chance: random.Random) -> int:
    return chance.randint(0, len(data))


def _octet(data: bytes, chance: random.Random, target: Target, seeds: Sequence[bytes]) -> bytes:
    at = _place(data, chance)
    return data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]


def _insert(data: bytes, chance: random.Random, target: Target, seeds: Sequence[bytes]) -> bytes:
    at, word = _place(data, chance), chance.choice((*WORDS, *target.words))
    return data[:at] + word + data[at + chance.choice((0, 0, 1, len(word))) :]


def _cut(data: bytes, chance: random.Random, target: Target, seeds: Sequence[bytes]) -> bytes:
    at = _place(data, chance)
    return data[:at] if chance.random() < 0.3 else data[:at] + data[at + chance.randint(1, 40) :]


def _splice(data: bytes, chance: random.Random, target: Target, seeds: Sequence[bytes]) -> bytes:
    other = chance.choice(seeds)
    return data[: _place(data, chance)] + other[_place(other, chance) :]


def _repeat(data: bytes, chance: random.Random, target: Target, seeds: Sequence[bytes]) -> bytes:
    """The same piece many times: what takes more than linear time shows itself."""
    at = _place(data, chance)
    piece = data[at : at + chance.choice((1, 2, 8, 40))]
    return data[:at] + piece * chance.choice((2, 3, 20, REPEATS_MAX if chance.random() < 0.02 else 5)) + data[at:]


def _number(data: bytes, chance: random.Random, target: Target, seeds: Sequence[bytes]) -> bytes:
    """A length, count or sequence number as binary protocols have them."""
    at, layout = _place(data, chance), chance.choice((">B", ">H", "<H", ">I", "<I"))
    size = struct.calcsize(layout)
    value = chance.choice((*NUMBERS, len(data), len(data) - at, chance.getrandbits(32))) & ((1 << 8 * size) - 1)
    return data[:at] + struct.pack(layout, value) + data[at + size :]


def _lines(data: bytes, chance: random.Random, target: Target, seeds: Sequence[bytes]) -> bytes:
    """A line taken out, doubled, put elsewhere, folded, or one of another message."""
    lines = data.split(b"\r\n")
    at = chance.randrange(len(lines))
    what = chance.randrange(5)
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(at, lines[at])
    elif what == 2:
        lines.insert(chance.randrange(len(lines)), lines.pop(at))
    elif what == 3:
        half = len(lines[at]) // 2
        lines[at : at + 1] = [lines[at][:half], b" " + lines[at][half:]]
    else:
        lines.insert(at, chance.choice(chance.choice(seeds).split(b"\r\n")))
    return b"\r\n".join(lines)


def _case(data: bytes, chance: random.Random, target: Target, seeds: Sequence[bytes]) -> bytes:
    at = _place(data, chance)
    return data[:at] + data[at : at + 20].swapcase() + data[at + 20 :]


OCTET_CHANGES: tuple[Change, ...] = (_octet, _octet, _number, _number, _cut, _splice, _repeat, _insert)
TEXT_CHANGES: tuple[Change, ...] = (_octet, _insert, _insert, _lines, _lines, _lines, _cut, _splice, _repeat, _case)
