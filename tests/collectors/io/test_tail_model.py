"""Any order of writing, rotating, reading and crashing: no whole line is missed, and none has two places.

The model: every generation is a list of lines. A line's place is (generation, number within it). What the reader hands in
must hold every whole line of every generation that was still in the folder when the reader came by, each under the
number that it really has in its own generation. Half lines never come out. File times are set by hand, one second a
step, since a test is faster than the clock of a file system.
"""

import os
import shutil
import tempfile
from pathlib import Path

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from collectors.io.tail import Tail
from collectors.io.tail_plan import Mark

HEADER = b"same first line of every generation, which must not confuse anybody"


class Rotations(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="tail-model-"))
        self.path = self.folder / "Master.csv"
        self.clock = 1_700_000_000
        self.count = 0
        self.written: list[bytes] = [HEADER]
        self.half = b""
        self.must_come: list[tuple[bytes, int]] = []
        self.path.write_bytes(HEADER + b"\n")
        self.tick(self.path)
        self.durable = b""
        self.heard: set[tuple[bytes, int]] = set()
        self.tail = Tail(self.path, chunk_bytes=512, line_max_bytes=300)

    def teardown(self) -> None:
        self.read_all()
        lines = list(enumerate(self.written, start=1))
        missed = {(line, number) for number, line in lines} | set(self.must_come)
        assert missed - self.heard == set()
        unique = [entry for entry in self.heard if entry[0] != HEADER]
        assert len({line for line, _ in unique}) == len(unique), "one line came under two numbers"
        assert all(line.startswith(b"line ") and line.endswith(b" end") for line, _ in unique)
        self.tail.close()
        shutil.rmtree(self.folder)

    def tick(self, path: Path) -> None:
        self.clock += 1
        os.utime(path, (self.clock, self.clock))

    def append(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)
        self.tick(self.path)

    def next_line(self, length: int) -> bytes:
        self.count += 1
        return b"line %d %s end" % (self.count, b"." * length)

    def new_generation(self) -> None:
        self.written, self.half = [], b""

    def owe(self) -> None:
        """What is rotated away must come, unless the reader has never been here: then it begins with what is there."""
        if self.tail.mark is not None:
            self.must_come += [(line, number) for number, line in enumerate(self.written, start=1)]

    def shift(self) -> Path:
        """Master.csv.1 -> .2 and so on; gives the name that is free then."""
        names = sorted(self.folder.glob("Master.csv.*"), key=lambda p: -int(p.suffix[1:]))
        for name in names:
            name.rename(self.path.with_name(f"Master.csv.{int(name.suffix[1:]) + 1}"))
        return self.path.with_name("Master.csv.1")

    @rule(number=st.integers(1, 12), length=st.integers(0, 200))
    def lines_are_written(self, number: int, length: int) -> None:
        fresh = [self.next_line(length) for _ in range(number)]
        if self.half:
            self.append(self.half_rest + b"\n")
            self.written.append(self.half)
            self.half = b""
        self.append(b"".join(line + b"\n" for line in fresh))
        self.written += fresh

    @precondition(lambda self: not self.half)
    @rule(length=st.integers(0, 100), cut=st.integers(1, 10))
    def half_a_line_is_written(self, length: int, cut: int) -> None:
        self.half = self.next_line(length)
        self.half_rest = self.half[cut:]
        self.append(self.half[:cut])

    @rule(header=st.booleans())
    def rotated_by_rename(self, header: bool) -> None:
        self.owe()
        self.path.rename(self.shift())
        self.new_generation()
        self.path.write_bytes(b"")
        self.tick(self.path)
        if header:
            self.append(HEADER + b"\n")
            self.written.append(HEADER)

    @rule(header=st.booleans())
    def rotated_by_copytruncate(self, header: bool) -> None:
        self.owe()
        copy = self.shift()
        shutil.copyfile(self.path, copy)
        self.tick(copy)
        os.truncate(self.path, 0)
        self.tick(self.path)
        self.new_generation()
        if header:
            self.append(HEADER + b"\n")
            self.written.append(HEADER)

    @rule()
    def cut_by_hand(self) -> None:
        """What was not read by then is gone: the reader cannot be asked for it."""
        os.truncate(self.path, 0)
        self.tick(self.path)
        self.new_generation()

    @rule(durable=st.booleans())
    def the_reader_looks_once(self, durable: bool) -> None:
        piece = self.tail.look()
        if piece is None:
            return
        for number, line in enumerate(piece.data.splitlines(), start=piece.line):
            self.heard.add((line, number))
        mark = self.tail.take(piece.data) if piece.data else self.tail.mark
        if durable:
            self.durable = msgspec.msgpack.encode(mark)

    @rule()
    def the_reader_catches_up(self) -> None:
        self.read_all()

    def read_all(self) -> None:
        idle = 0
        while idle < 3:
            before = self.tail.mark
            self.the_reader_looks_once(durable=True)
            idle = idle + 1 if self.tail.mark == before else 0

    @rule()
    def the_reader_crashes(self) -> None:
        self.tail.close()
        mark = msgspec.msgpack.decode(self.durable, type=Mark) if self.durable else None
        if mark is None:
            # Before the first checkpoint a reader starts with what is under the path, as on the first day.
            self.must_come.clear()
        self.tail = Tail(self.path, mark, chunk_bytes=512, line_max_bytes=300)


Rotations.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestRotations = Rotations.TestCase
