"""A real folder, real rotations: what `Tail` gives out, and what it keeps for the next start."""

import gzip
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from collectors.contract import SourceMisconfigured
from collectors.io.tail import Notice, Tail
from collectors.io.tail_plan import Mark


def drain(tail: Tail) -> list[bytes]:
    """All that there is now, with the polls that leaving a rotated file needs."""
    lines: list[bytes] = []
    idle = 0
    while idle < 3:
        piece = tail.look()
        idle = idle + 1 if piece is None else 0
        if piece is not None and piece.data:
            lines += piece.data.splitlines()
            tail.take(piece.data)
    return lines


def notices(tail: Tail) -> list[Notice]:
    told: list[Notice] = []
    idle = 0
    while idle < 3:
        piece = tail.look()
        idle = idle + 1 if piece is None else 0
        if piece is not None:
            told += piece.notices
            if piece.data:
                tail.take(piece.data)
    return told


def append(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text)


def restarted(tail: Tail) -> Tail:
    """A new process with the mark as a checkpoint keeps it."""
    kept = msgspec.msgpack.encode(tail.mark)
    tail.close()
    return Tail(tail.path, msgspec.msgpack.decode(kept, type=Mark | None))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "Master.csv"


def lines(first: int, last: int) -> list[bytes]:
    return [b"line %06d" % n for n in range(first, last + 1)]


def text(first: int, last: int) -> bytes:
    return b"".join(line + b"\n" for line in lines(first, last))


def test_lines_come_once_and_half_a_line_waits_for_its_other_half(path: Path) -> None:
    tail = Tail(path)
    append(path, text(1, 2) + b"line 0000")
    assert drain(tail) == lines(1, 2)
    append(path, b"03\n")
    assert drain(tail) == lines(3, 3)
    assert drain(tail) == []


def test_a_file_that_is_not_there_is_waited_for(path: Path) -> None:
    tail = Tail(path)
    assert tail.look() is None
    assert tail.state == f"{path} is not there: waiting for it"
    append(path, text(1, 1))
    assert drain(tail) == lines(1, 1)
    path.unlink()
    assert drain(tail) == []
    assert tail.state == f"{path} is gone: waiting for it"
    append(path, text(2, 2))
    assert drain(tail) == lines(2, 2)


def test_a_folder_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    assert Tail(tmp_path / "absent" / "Master.csv").look() is None


def test_a_folder_in_place_of_the_file_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(SourceMisconfigured, match="not a file"):
        Tail(tmp_path).look()


def test_a_pipe_in_place_of_the_file_does_not_hang(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(SourceMisconfigured, match="not a file"):
        Tail(path).look()


def test_b16_rotation_by_rename_finishes_the_old_file_first(path: Path) -> None:
    tail = Tail(path)
    append(path, text(1, 102))
    assert drain(tail) == lines(1, 102)
    append(path, text(103, 104))
    path.rename(path.with_name("Master.csv.1"))
    append(path, text(105, 106))
    assert drain(tail) == lines(103, 106)
    assert tail.counters["rotations"] == 1


def test_a_line_written_just_after_the_rename_is_not_missed(path: Path) -> None:
    tail = Tail(path)
    append(path, text(1, 101))
    assert drain(tail) == lines(1, 101)
    with path.open("ab") as writer:
        path.rename(path.with_name("Master.csv.1"))
        append(path, text(103, 103))
        assert tail.look() is None
        writer.write(text(102, 102))
    assert drain(tail) == lines(102, 103)


def test_rotation_by_rename_during_a_stop_is_followed_by_the_inode(path: Path) -> None:
    tail = Tail(path)
    append(path, text(1, 102))
    drain(tail)
    append(path, text(103, 104))
    path.rename(path.with_name("Master.csv-20261120"))
    append(path, text(105, 106))
    assert drain(restarted(tail)) == lines(103, 106)


def test_a_renamed_file_is_finished_even_while_no_new_one_is_there(path: Path) -> None:
    tail = Tail(path)
    append(path, text(1, 102))
    drain(tail)
    append(path, text(103, 104))
    path.rename(path.with_name("Master.csv.1"))
    tail = restarted(tail)
    assert drain(tail) == lines(103, 104)
    append(path, text(105, 105))
    assert drain(tail) == lines(105, 105)


def test_three_rotations_during_a_stop_lose_nothing(path: Path) -> None:
    tail = Tail(path)
    append(path, text(1, 102))
    drain(tail)
    for first in (103, 105, 107):
        append(path, text(first, first + 1))
        for number in (2, 1):
            older = path.with_name(f"Master.csv.{number}")
            if older.exists():
                older.rename(path.with_name(f"Master.csv.{number + 1}"))
        path.rename(path.with_name("Master.csv.1"))
        os.utime(path.with_name("Master.csv.1"), (10**9 * 4 + first, 10**9 * 4 + first))
    append(path, text(109, 109))
    assert drain(restarted(tail)) == lines(103, 109)


def test_copytruncate_while_running(path: Path) -> None:
    tail = Tail(path)
    append(path, text(1, 103))
    assert drain(tail) == lines(1, 103)
    append(path, text(104, 105))
    shutil.copy(path, path.with_name("Master.csv.1"))
    os.truncate(path, 0)
    append(path, text(106, 106))
    assert drain(tail) == lines(104, 106)
    assert tail.counters["truncations"] == 1


@pytest.mark.parametrize("regrown", [1, 40])
def test_b16_copytruncate_during_a_stop_whether_or_not_the_file_has_outgrown_the_offset(
    path: Path, regrown: int
) -> None:
    tail = Tail(path)
    append(path, text(1, 110))
    assert drain(tail) == lines(1, 110)
    append(path, text(111, 112))
    shutil.copy(path, path.with_name("Master.csv.1"))
    os.truncate(path, 0)
    append(path, text(113, 112 + regrown))
    assert drain(restarted(tail)) == lines(111, 112 + regrown)


def test_a_copy_of_a_file_of_which_hardly_anything_was_read_is_read_from_its_start(path: Path) -> None:
    tail = Tail(path)
    append(path, text(1, 1))
    drain(tail)
    append(path, text(2, 2))
    shutil.copy(path, path.with_name("Master.csv.1"))
    os.truncate(path, 0)
    append(path, text(3, 3))
    assert drain(restarted(tail)) == lines(1, 3)


def test_b16_equal_beginnings_of_two_generations_are_told_apart_by_what_stands_before_the_offset(path: Path) -> None:
    header = b"accountcode,src,dst\n" * 60
    tail = Tail(path)
    append(path, header + text(1, 50))
    drain(tail)
    shutil.copy(path, path.with_name("Master.csv.1"))
    os.truncate(path, 0)
    append(path, header + text(100, 200))
    assert drain(restarted(tail)) == header.splitlines() + lines(100, 200)


def test_a_cut_by_hand_right_after_everything_was_read_is_no_loss(path: Path) -> None:
    tail = Tail(path)
    append(path, text(1, 3))
    drain(tail)
    os.truncate(path, 0)
    append(path, text(4, 4))
    assert notices(tail) == []
    assert tail.counters["truncations"] == 1


def test_a_cut_by_hand_during_a_stop_is_told_since_nobody_knows_what_was_there(path: Path) -> None:
    tail = Tail(path)
    append(path, text(1, 3))
    drain(tail)
    os.truncate(path, 0)
    append(path, text(4, 4))
    (notice,) = notices(restarted(tail))
    assert notice.reason == "rotated_away"
    assert "after byte 36" in notice.message


def test_a_compressed_rotation_that_was_read_to_its_end_is_no_loss(path: Path) -> None:
    tail = Tail(path)
    append(path, text(1, 3))
    drain(tail)
    seen = path.stat()
    archive = path.with_name("Master.csv.1.gz")
    archive.write_bytes(gzip.compress(path.read_bytes()))
    os.utime(archive, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    path.unlink()
    append(path, text(4, 4))
    assert notices(restarted(tail)) == []


def test_a_compressed_rotation_that_was_written_to_after_the_mark_is_a_loss_that_is_told(path: Path) -> None:
    tail = Tail(path)
    append(path, text(1, 3))
    drain(tail)
    archive = path.with_name("Master.csv.1.gz")
    archive.write_bytes(gzip.compress(text(1, 5)))
    os.utime(archive, ns=(0, path.stat().st_mtime_ns + 5_000_000_000))
    path.unlink()
    append(path, text(6, 6))
    assert [notice.reason for notice in notices(restarted(tail))] == ["rotated_away"]


def test_b16_an_inode_that_is_used_again_is_not_taken_for_the_old_file(path: Path) -> None:
    tail = Tail(path)
    append(path, text(1, 3))
    drain(tail)
    mark = tail.mark
    assert mark is not None
    tail.close()
    path.write_bytes(text(100, 120))
    reused = msgspec.structs.replace(mark, inode=path.stat().st_ino)
    assert drain(Tail(path, reused)) == lines(100, 120)


def test_b16_an_offset_beyond_the_end_means_another_file(path: Path) -> None:
    tail = Tail(path)
    append(path, text(1, 30))
    drain(tail)
    path.write_bytes(text(50, 51))
    assert drain(restarted(tail)) == lines(50, 51)


def test_a_file_put_back_from_a_backup_goes_on_where_it_was(path: Path) -> None:
    tail = Tail(path)
    append(path, text(1, 30))
    drain(tail)
    content = path.read_bytes()
    path.rename(path.with_name("elsewhere"))
    path.write_bytes(content + text(31, 31))
    assert drain(restarted(tail)) == lines(31, 31)


def test_a_line_without_end_is_skipped_and_told_and_the_next_one_is_read(path: Path) -> None:
    tail = Tail(path, chunk_bytes=256, line_max_bytes=200)
    append(path, text(1, 1) + b"x" * 1000)
    assert drain(tail) == lines(1, 1)
    tail = restarted(tail)
    append(path, b"x" * 1000 + b"\n" + text(2, 2))
    assert drain(tail) == lines(2, 2)


def test_a_line_without_end_is_told_once_with_its_beginning(path: Path) -> None:
    tail = Tail(path, chunk_bytes=256, line_max_bytes=200)
    append(path, text(1, 1) + b"x" * 1000 + b"\n" + text(3, 3))
    (notice,) = notices(tail)
    assert (notice.reason, notice.position) == ("line_too_long", "Master.csv:2")
    assert notice.excerpt == b"x" * 256
    assert tail.mark is not None
    assert tail.mark.line == 3


def test_half_a_line_at_the_end_of_a_rotated_file_is_told(path: Path) -> None:
    tail = Tail(path)
    append(path, text(1, 1) + b"half")
    drain(tail)
    path.rename(path.with_name("Master.csv.1"))
    append(path, text(3, 3))
    (told,) = notices(tail)
    assert (told.reason, told.excerpt) == ("unterminated_line", b"half")


def test_the_backlog_is_what_is_left_to_read(path: Path) -> None:
    tail = Tail(path, chunk_bytes=256, line_max_bytes=200)
    append(path, text(1, 100))
    piece = tail.look()
    assert piece is not None
    assert piece.more
    tail.take(piece.data)
    assert tail.backlog_bytes == 100 * 12 - len(piece.data)


def test_lines_may_be_taken_one_by_one(path: Path) -> None:
    tail = Tail(path)
    append(path, text(1, 3))
    piece = tail.look()
    assert piece is not None
    tail.take(b"line 000001\n")
    assert drain(restarted(tail)) == lines(2, 3)
