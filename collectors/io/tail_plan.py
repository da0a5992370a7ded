"""Which file of a rotated series to read next, decided from what is seen of the folder. Pure: no file is touched here.

Laws
- A *generation* is the text that was written under a path until a rotation took it away. A `Mark` says how far one
  generation has been read; it is all that a checkpoint needs.
- A file is the mark's generation because its bytes are: the first up to HEAD_BYTES and the last up to TAIL_BYTES before
  the offset are the same. An inode number is only a hint, since file systems use it again, and so is a first line, since
  generations may begin alike.
- Files that may hold unread lines are read, in the order of their age. To read one twice costs time (its records have
  the same keys again); to skip one loses calls.

Ways of rotation (logrotate(8)): by rename (`Master.csv` -> `Master.csv.1` or `Master.csv-20261120`), by `copytruncate`
(a copy is made, the original is cut to nothing), and by hand (`> Master.csv`).
"""

import hashlib
import re
from collections.abc import Sequence

from msgspec import Struct

HEAD_BYTES = 1024
"""Beginning of a file that goes into its fingerprint: some four CDR lines, so headers and first lines may be alike."""

TAIL_BYTES = 256
"""Bytes before the offset that go into the fingerprint: the last CDR line read, with its times and ids."""

COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4")
"""Rotated files that are not read; they only tell, by their time, whether they hold more than was read before."""


class Mark(Struct, frozen=True, array_like=True):
    """How far one generation is read: `offset` bytes, always at the start of a line (or within one that is too long and
    is being skipped), `line` complete lines. `mtime_ns` is the file's time when it was last read."""

    generation: int
    inode: int
    offset: int
    line: int
    head: bytes
    tail: bytes
    mtime_ns: int
    skipping: bool = False


class Sight(Struct, frozen=True):
    """What is seen of one file. `same`: its bytes are those that the mark was read from."""

    name: str
    inode: int
    size: int
    mtime_ns: int
    same: bool = False


def digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def head_size(offset: int) -> int:
    return min(offset, HEAD_BYTES)


def tail_size(offset: int) -> int:
    return min(offset, TAIL_BYTES)


def beginning(generation: int, seen: Sight) -> Mark:
    """The mark of a generation of which nothing has been read."""
    nothing = digest(b"")
    return Mark(generation, seen.inode, 0, 0, nothing, nothing, seen.mtime_ns)


def advanced(mark: Mark, size: int, lines: int, head: bytes, tail: bytes, skipping: bool) -> Mark:
    """`mark` after reading `size` bytes more; `head` and `tail` are the bytes themselves."""
    offset, line = mark.offset + size, mark.line + lines
    return Mark(mark.generation, mark.inode, offset, line, digest(head), digest(tail), mark.mtime_ns, skipping)


def is_young(mark: Mark) -> bool:
    """So little was read that it may be a header which other generations have too: equal bytes prove nothing then, and in
    doubt the few lines are read again (as records with the same keys)."""
    return mark.offset <= HEAD_BYTES


def is_home(mark: Mark, seen: Sight) -> bool:
    """Is this file the mark's generation? Equal bytes prove it under any inode (a copy, a restored disk); where nothing
    was read yet there are no bytes to compare, and the inode must do."""
    return seen.same if mark.offset else seen.inode == mark.inode


def home(mark: Mark, current: Sight | None, siblings: Sequence[Sight]) -> Sight | None:
    """Where the mark's generation lies now: still under its path, under a rotated name, as a copy. None where it is gone,
    or where a young one is no more under its path: it is one of the unread ones then (see `successor`)."""
    if current is not None and is_home(mark, current) and not copied(mark, siblings):
        return current
    found = [seen for seen in siblings if is_home(mark, seen) and not is_young(mark)]
    return max(found, key=lambda seen: (seen.inode == mark.inode, seen.size), default=None)


def copied(mark: Mark, siblings: Sequence[Sight]) -> bool:
    """Was the file under the path copied away and cut since, although it looks the same? Of a young generation a younger
    file beside it says so."""
    if not is_young(mark):
        return False
    return any(seen.mtime_ns > mark.mtime_ns and seen.inode != mark.inode for seen in siblings if seen.size)


_number = re.compile(r"[.-](\d{1,5})(?!\d)")


def age(seen: Sight) -> tuple[int, int, str]:
    """Sorts oldest first: by time, then `.2` before `.1`, then by name (dates in names sort themselves)."""
    number = _number.search(seen.name)
    return seen.mtime_ns, -int(number[1]) if number else 0, seen.name


def successor(mark: Mark, current: Sight | None, siblings: Sequence[Sight], left: bool) -> Sight | None:
    """The oldest file that is younger than the mark's generation: rotations may have come several at once. None where
    there is no file yet. `siblings` are the rotated names only; `current` is always the youngest. `left`: the mark's own
    file was read to its end; else a young generation may itself be among the siblings."""
    if left or not is_young(mark):
        own = [age(seen) for seen in siblings if seen.inode == mark.inode and is_home(mark, seen)]
        after = own[0] if own else (mark.mtime_ns, 0, "\U0010ffff")
        siblings = [seen for seen in siblings if age(seen) > after and (is_young(mark) or not is_home(mark, seen))]
    else:
        siblings = [seen for seen in siblings if seen.mtime_ns >= mark.mtime_ns]
    return min((seen for seen in siblings if seen.size), key=age, default=current)


def was_read_whole(mark: Mark, compressed: Sequence[Sight]) -> bool:
    """Does a compressed file's time prove that nothing was written after the mark? gzip and logrotate keep the time of
    the file that they compress; some file systems and tools keep it to the second only."""
    return any(seen.mtime_ns in (mark.mtime_ns, whole_second(mark.mtime_ns)) for seen in compressed)


def whole_second(time_ns: int) -> int:
    return time_ns // 1_000_000_000 * 1_000_000_000


def is_rotated_name(path_name: str, name: str) -> bool:
    """`Master.csv.1`, `Master.csv-20261120`, `Master.csv.2026-11-20-10-00-00`, `Master-20261120.csv`, but not
    `Master.csv.bak` or `Master2.csv`."""
    stem, dot, extension = path_name.rpartition(".")
    for base in (path_name, stem if dot else path_name):
        rest = name[len(base) :]
        if name != path_name and name.startswith(base) and rest[:1] in (".", "-") and rest[1:2].isdigit():
            return base == path_name or rest.endswith(f".{extension}") or rest.endswith(COMPRESSED)
    return False
