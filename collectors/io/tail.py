"""Reading a text file while it grows, through every way of rotating it. `tail_plan` decides, this does.

Laws
- Only whole lines are given out, and `take` moves the mark by whole lines: what a crash interrupts is read again.
- A piece is read first and verified after: the file still begins, and still runs up to the mark, with the bytes that were
  read before. So text of another generation never passes for the rest of this one.
- A generation is left when its file has another name (or none), is read to its end, and one more poll found nothing new
  in it; then the next older unread file follows, and at last the one under the path.
- A path that is not there is waited for: this is a state (`state`), not an error. What rotation took away unread is told
  by a `Notice`, never passed over.
"""

import asyncio
import contextlib
import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from collectors.contract import SourceMisconfigured, SourceUnavailable
from collectors.io import tail_plan
from collectors.io.tail_plan import Mark, Sight
from collectors.records import EXCERPT_MAX_BYTES

LINE_MAX_BYTES = 64 * 1024
"""A longer line is not text of a record: Asterisk writes at most 1,024 bytes, no CDR layout known passes 16 KiB."""

CHUNK_BYTES = 512 * 1024
"""Read at a time: about 2,000 CDR lines, some 20 ms of decoding, so that the event loop is not kept waiting."""

POLL_S = 0.25

NAMES_MAX = 4096
"""Files of one folder that are looked at for a rotated generation; beyond it the youngest names would be missed, and a
folder with so many rotated logs has none of interest."""


class Notice(Struct, frozen=True):
    """Something that the file lost or that cannot be a line. `reason`: `line_too_long`, `unterminated_line` or
    `rotated_away`; `position` as in `Master.csv:120`."""

    reason: str
    message: str
    excerpt: bytes
    position: str


class Piece(Struct, frozen=True):
    """Whole lines, the first of them number `line` of `name`. `more`: the file holds more to read now."""

    data: bytes
    name: str
    line: int
    more: bool
    notices: tuple[Notice, ...] = ()


class Tail:
    """One followed path. Call `look` for what is there, `take` for what is done with; the mark that `take` returns is what
    to keep. Not for use by two threads at once."""

    def __init__(
        self,
        path: Path,
        mark: Mark | None = None,
        chunk_bytes: int = CHUNK_BYTES,
        line_max_bytes: int = LINE_MAX_BYTES,
    ) -> None:
        self.path = path
        self.mark = mark
        self.state = f"{path} has not been looked at yet"
        self.counters = {"rotations": 0, "truncations": 0, "lines_too_long": 0, "rotated_away": 0}
        self._line_max_bytes = line_max_bytes
        self._chunk_bytes = max(chunk_bytes, line_max_bytes)
        self._fd = -1
        self._name = path.name
        self._head = b""
        self._tail = b""
        self._size = 0
        self._at_end = False
        self._left_at = -1  # the size of a rotated file at the poll before, to see that nothing comes any more
        self._notices: list[Notice] = []

    @property
    def backlog_bytes(self) -> int:
        """Bytes of the generation at hand that are not read yet, as of the last look."""
        return max(0, self._size - self.mark.offset) if self.mark is not None else 0

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def look(self) -> Piece | None:
        """What is next, or None where there is nothing now; a piece may hold notices only. Raises SourceMisconfigured where
        the path cannot be read, SourceUnavailable where the disk fails."""
        try:
            piece = self._look()
        except PermissionError as error:
            where = error.filename or self.path
            raise SourceMisconfigured(f"{where}: permission denied", "let the agent's user read it") from error
        except OSError as error:
            raise SourceUnavailable(f"{self.path}: {error.strerror}", "look at the disk or the mount") from error
        if piece is not None or not self._notices:
            return piece
        return Piece(b"", self._name, self.mark.line + 1 if self.mark else 1, False, self._told())

    def take(self, data: bytes) -> Mark:
        """The mark behind `data`, which is the last piece or its first lines: they are done with."""
        return self._advance(data, data.count(b"\n"), False)

    def _look(self) -> Piece | None:
        if self._fd < 0 and not self._resume():
            return None
        while True:
            piece = self._read()
            if piece is not None or not self._move_on():
                return piece

    # Reading the generation at hand

    def _read(self) -> Piece | None:
        """The next whole lines, or None at the end (or where the file is another one now: `_move_on` finds that out)."""
        while True:
            mark, before = self._marked(), os.fstat(self._fd)
            data = os.pread(self._fd, self._chunk_bytes, mark.offset)
            if before.st_size < mark.offset or (data and not self._unchanged(mark, before)):
                return None
            self._at_end, self._size = not data, before.st_size
            if not data:
                return None
            self.mark = mark = msgspec.structs.replace(mark, mtime_ns=before.st_mtime_ns)
            whole = data.rfind(b"\n") + 1
            if mark.skipping:
                end = data.find(b"\n") + 1
                self._advance(data[:end] if end else data, 1 if end else 0, not end)
            elif whole:
                more = mark.offset + whole < before.st_size and len(data) == self._chunk_bytes
                return Piece(data[:whole], self._name, mark.line + 1, more, self._told())
            elif len(data) >= self._line_max_bytes:
                self.counters["lines_too_long"] += 1
                text = f"The line is longer than {self._line_max_bytes} bytes; it was skipped up to its end."
                self._tell("line_too_long", text, data)
                self._advance(data, 0, True)
            else:
                return None

    def _marked(self) -> Mark:
        assert self.mark is not None, "a file is open only where there is a mark"
        return self.mark

    def _advance(self, data: bytes, lines: int, skipping: bool) -> Mark:
        mark = self._marked()
        if len(self._head) < tail_plan.HEAD_BYTES:
            self._head = (self._head + data[: tail_plan.HEAD_BYTES])[: tail_plan.HEAD_BYTES]
        self._tail = (self._tail + data[-tail_plan.TAIL_BYTES :])[-tail_plan.TAIL_BYTES :]
        self.mark = tail_plan.advanced(mark, len(data), lines, self._head, self._tail, skipping)
        return self.mark

    def _tell(self, reason: str, message: str, excerpt: bytes = b"") -> None:
        line = self.mark.line + 1 if self.mark else 1
        self._notices.append(Notice(reason, message, excerpt[:EXCERPT_MAX_BYTES], f"{self._name}:{line}"))

    def _told(self) -> tuple[Notice, ...]:
        told, self._notices = tuple(self._notices), []
        return told

    # Finding the generation, and the next one

    def _resume(self) -> bool:
        """Open what the mark tells of, or the file under the path where there is no mark. False: nothing to read now."""
        current = self._see(self.path)
        if self.mark is None:
            return self._open(self.path.name, tail_plan.beginning(1, current)) if current else self._wait()
        place = tail_plan.home(self.mark, current, self._siblings())
        if place is not None:
            return self._open(place.name, msgspec.structs.replace(self.mark, inode=place.inode))
        if current is None:
            return self._wait()
        self._lose()
        return self._follow(left=False)

    def _wait(self) -> bool:
        self.state = f"{self.path} is not there: waiting for it"
        return False

    def _move_on(self) -> bool:
        """At the end of what is open: is there something else to read now? A file that is under its path still, and only
        waits for more, is the usual case and costs one `stat`."""
        mark = self._marked()
        try:
            seen = os.stat(self.path)
        except FileNotFoundError:
            self.state = f"{self.path} is gone: waiting for it"
            return False
        mine = os.fstat(self._fd)
        if not self._unchanged(mark, mine):
            return self._replaced()
        if seen.st_ino == mine.st_ino:
            self.state = f"following {self.path}"
            return False
        if self._left_at != self._size:
            self._left_at = self._size
            return False
        rest = os.pread(self._fd, self._line_max_bytes, mark.offset)
        if rest and not mark.skipping:
            self._tell("unterminated_line", "The file was rotated away and ends within this line.", rest)
        self.counters["rotations"] += 1
        return self._follow(left=True)

    def _replaced(self) -> bool:
        """The open file was cut (copytruncate, or by hand), and may have grown again since."""
        mark, unread = self._marked(), not self._at_end or self._size > self._marked().offset
        self.counters["truncations"] += 1
        self.close()
        copy = tail_plan.home(mark, None, self._siblings())
        if copy is not None:
            return self._open(copy.name, msgspec.structs.replace(mark, inode=copy.inode))
        if unread:
            self._lose()
        return self._follow(left=False)

    def _follow(self, left: bool) -> bool:
        """Open the generation after the mark's."""
        mark = self._marked()
        after = tail_plan.successor(mark, self._see(self.path), self._rotated(), left)
        if after is None:
            return False
        self.close()
        return self._open(after.name, tail_plan.beginning(mark.generation + 1, after))

    def _lose(self) -> None:
        """The mark's generation is nowhere: say so, unless its compressed file proves that it was read to its end."""
        mark = self._marked()
        compressed = [_sight(entry) for entry in self._names() if entry.name.endswith(tail_plan.COMPRESSED)]
        kept = tail_plan.is_young(mark) and any(seen.same for seen in self._siblings())
        if kept or tail_plan.was_read_whole(mark, compressed) or not (mark.offset or self._size):
            return
        self.counters["rotated_away"] += 1
        known = (
            f"at least {self._size - mark.offset} bytes" if self._size > mark.offset else "what followed, if anything,"
        )
        self._tell("rotated_away", f"The file was rotated away after byte {mark.offset}: {known} could not be read.")

    def _open(self, name: str, mark: Mark) -> bool:
        try:
            fd = os.open(self.path.with_name(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        self.close()
        self._fd, self._name, self.mark = fd, name, mark
        self._head = os.pread(fd, tail_plan.head_size(mark.offset), 0)
        self._tail = os.pread(fd, tail_plan.tail_size(mark.offset), mark.offset - tail_plan.tail_size(mark.offset))
        self._size, self._at_end, self._left_at = os.fstat(fd).st_size, False, -1
        self.state = f"reading {self.path.with_name(name)}"
        return True

    def _unchanged(self, mark: Mark, seen: os.stat_result) -> bool:
        """Is the open file still the generation that the mark was read from?"""
        if not self._verified(self._fd, mark):
            return False
        young = tail_plan.is_young(mark) and self._name == self.path.name
        return not (young and seen.st_mtime_ns != mark.mtime_ns and tail_plan.copied(mark, self._rotated()))

    @staticmethod
    def _verified(fd: int, mark: Mark) -> bool:
        head, tail = tail_plan.head_size(mark.offset), tail_plan.tail_size(mark.offset)
        return (
            tail_plan.digest(os.pread(fd, tail, mark.offset - tail)) == mark.tail
            and tail_plan.digest(os.pread(fd, head, 0)) == mark.head
        )

    # Seeing the folder

    def _see(self, path: Path) -> Sight | None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            seen = os.fstat(fd)
            if not stat.S_ISREG(seen.st_mode):
                raise SourceMisconfigured(f"{path} is not a file", "name the file itself, not its folder")
            same = self.mark is not None and seen.st_size >= self.mark.offset and self._verified(fd, self.mark)
            return Sight(path.name, seen.st_ino, seen.st_size, seen.st_mtime_ns, same)
        finally:
            os.close(fd)

    def _names(self) -> Iterator[os.DirEntry[str]]:
        """Files beside the path whose names begin as its own does."""
        begin = self.path.stem
        try:
            with os.scandir(self.path.parent) as entries:
                named = (entry for entry in entries if entry.name.startswith(begin) and entry.name != self.path.name)
                yield from itertools.islice((entry for entry in named if entry.is_file()), NAMES_MAX)
        except FileNotFoundError:
            return

    def _siblings(self) -> list[Sight]:
        """Uncompressed files that can be the mark's generation: none that is older than the mark (a copy may keep its time
        to the second only)."""
        oldest = tail_plan.whole_second(self._marked().mtime_ns)
        names = [entry.name for entry in self._names() if not entry.name.endswith(tail_plan.COMPRESSED)]
        seen = []
        for name in names:
            with contextlib.suppress(PermissionError):  # what is in it, if it is ours at all, is told as lost
                seen.append(self._see(self.path.with_name(name)))
        return [sight for sight in seen if sight is not None and sight.mtime_ns >= oldest]

    def _rotated(self) -> list[Sight]:
        return [sight for sight in self._siblings() if tail_plan.is_rotated_name(self.path.name, sight.name)]


def _sight(entry: os.DirEntry[str]) -> Sight:
    seen = entry.stat()
    return Sight(entry.name, seen.st_ino, seen.st_size, seen.st_mtime_ns)


async def next_piece(tail: Tail, poll_s: float = POLL_S) -> Piece:
    """Wait until there is a piece. The reads are of local files and short; they are made on the event loop itself."""
    while True:
        piece = tail.look()
        if piece is not None:
            return piece
        await asyncio.sleep(poll_s)
