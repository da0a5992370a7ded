"""A journal keeps every datagram that was received, in order, until a checkpoint lies behind it."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.io.journal import Journal, Position
from collectors.io.segment import HEADER_BYTES, SLOT_MAX_BYTES, TOUCH_BYTES

SEGMENT = 256 * 1024
NOW_US = 1_700_000_000_000_000


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A receiving UDP socket and one connected to it."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.setblocking(False)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(receiver.getsockname())
    yield receiver, sender
    receiver.close()
    sender.close()


Pair = tuple[socket.socket, socket.socket]


def journal(folder: Path, start: Position | None = None, limit_bytes: int = 16 * SEGMENT) -> Journal:
    return Journal(
        folder, start, now_us=NOW_US, own_length=numbered_length, segment_bytes=SEGMENT, limit_bytes=limit_bytes
    )


def numbered_length(data: memoryview) -> int:
    """The test's own datagrams: `N`, their length in five digits, then anything."""
    head = bytes(data[:6])
    return int(head[1:]) if head[:1] == b"N" and head[1:].isdigit() else 0


def numbered(number: int, length: int = 700) -> bytes:
    return b"N%05d %d " % (length, number) + b"x" * (length - 7 - len(str(number)) - 1)


def receive_all(one: Journal, pair: Pair, datagrams: list[bytes]) -> None:
    for at in range(0, len(datagrams), 50):
        for datagram in datagrams[at : at + 50]:
            pair[1].send(datagram)
        one.receive(pair[0], 1000, NOW_US + at)


def read_all(one: Journal) -> list[bytes]:
    found: list[bytes] = []
    while more := one.read(100):
        found += [datagram.data for datagram in more]
    return found


def test_datagrams_come_out_as_they_went_in_over_many_segments(tmp_path: Path, pair: Pair) -> None:
    sent = [numbered(number, 20 + number * 37 % 3000) for number in range(1200)]
    one = journal(tmp_path)
    receive_all(one, pair, sent)
    assert read_all(one) == sent
    assert len(list(tmp_path.iterdir())) > 3


def test_the_time_of_receipt_is_kept(tmp_path: Path, pair: Pair) -> None:
    one = journal(tmp_path)
    receive_all(one, pair, [b"a"] * 51)
    assert [datagram.received_us for datagram in one.read(60)][-2:] == [NOW_US, NOW_US + 50]


def test_the_largest_datagram_fits(tmp_path: Path, pair: Pair) -> None:
    one = journal(tmp_path)
    receive_all(one, pair, [b"\xff" * 65_507, b"next"])
    assert read_all(one) == [b"\xff" * 65_507, b"next"]


def test_an_empty_datagram_takes_no_slot(tmp_path: Path, pair: Pair) -> None:
    one = journal(tmp_path)
    receive_all(one, pair, [b"", b"next"])
    assert read_all(one) == [b"next"]


def test_another_process_reads_on_where_a_checkpoint_says(tmp_path: Path, pair: Pair) -> None:
    first = journal(tmp_path)
    receive_all(first, pair, [numbered(number) for number in range(900)])
    first.read(500)
    checkpoint = first.position
    first.read(100)
    first.close()
    second = journal(tmp_path, checkpoint)
    assert not second.missing
    receive_all(second, pair, [numbered(900)])
    assert read_all(second) == [numbered(number) for number in range(500, 901)]


def test_a_datagram_whose_header_was_never_written_is_recovered_by_its_own_length(tmp_path: Path, pair: Pair) -> None:
    one = journal(tmp_path)
    receive_all(one, pair, [numbered(0), numbered(1)])
    one.close()
    _strike_header(tmp_path, numbered(0), HEADER_BYTES + 704)
    assert read_all(journal(tmp_path)) == [numbered(0), numbered(1)]


def test_a_half_written_header_is_no_header(tmp_path: Path, pair: Pair) -> None:
    one = journal(tmp_path)
    receive_all(one, pair, [numbered(0)])
    one.close()
    path = next(tmp_path.iterdir())
    data = bytearray(path.read_bytes())
    data[10:12] = b"\0\0"
    path.write_bytes(data)
    again = journal(tmp_path)
    assert [(one.received_us, one.data) for one in again.read(9)] == [(NOW_US, numbered(0))]


def test_a_datagram_without_a_length_of_its_own_is_recovered_up_to_its_last_byte(tmp_path: Path, pair: Pair) -> None:
    one = journal(tmp_path)
    receive_all(one, pair, [b"INVITE sip:1@x SIP/2.0\r\n\r\n"])
    one.close()
    _strike_header(tmp_path, b"", 0)
    again = journal(tmp_path)
    receive_all(again, pair, [b"next"])
    assert read_all(again) == [b"INVITE sip:1@x SIP/2.0\r\n\r\n", b"next"]


def _strike_header(folder: Path, before: bytes, offset: int) -> None:
    path = next(folder.iterdir())
    data = bytearray(path.read_bytes())
    assert data[HEADER_BYTES : HEADER_BYTES + len(before)] == before
    assert any(data[offset : offset + HEADER_BYTES])
    data[offset : offset + HEADER_BYTES] = bytes(HEADER_BYTES)
    path.write_bytes(data)


def test_a_page_that_a_power_cut_took_costs_the_datagrams_in_it_and_no_others(tmp_path: Path, pair: Pair) -> None:
    one = journal(tmp_path)
    receive_all(one, pair, [numbered(number) for number in range(250)])
    one.close()
    path = next(tmp_path.iterdir())
    data = bytearray(path.read_bytes())
    data[8192:12288] = bytes(4096)
    path.write_bytes(data)
    again = journal(tmp_path)
    receive_all(again, pair, [b"next"])
    found = read_all(again)
    whole = [number for number in range(250) if numbered(number) in found]
    assert again.recovered == 1
    assert whole == [*range(11), *range(18, 250)]
    assert found[-1] == b"next"
    assert len(found) == len(whole) + 1 + 2, "the datagram cut in two and the hole come as two unreadable ones"


def test_segments_go_when_a_checkpoint_lies_behind_them_and_not_before(tmp_path: Path, pair: Pair) -> None:
    one = journal(tmp_path)
    receive_all(one, pair, [numbered(number) for number in range(1500)])
    one.read(700)
    checkpoint = one.position
    one.release(checkpoint)
    one.close()
    assert min(int(path.stem) for path in tmp_path.iterdir()) == checkpoint.segment
    assert read_all(journal(tmp_path, checkpoint)) == [numbered(number) for number in range(700, 1500)]


def test_a_full_journal_leaves_the_datagrams_in_the_socket(tmp_path: Path, pair: Pair) -> None:
    one = journal(tmp_path, limit_bytes=2 * SEGMENT)
    sent = [numbered(number, 1400) for number in range(400)]
    for datagram in sent:
        pair[1].send(datagram)
        if not one.receive(pair[0], 1, NOW_US):
            break
    assert one.full
    assert one.size_bytes <= 2 * SEGMENT
    taken = read_all(one)
    assert len(taken) > 200
    assert taken == sent[: len(taken)]
    assert pair[0].recv(2000) == sent[len(taken)]


def test_a_full_journal_goes_on_when_there_is_room_again(tmp_path: Path, pair: Pair) -> None:
    one = journal(tmp_path, limit_bytes=2 * SEGMENT)
    number = 0
    pair[1].send(numbered(number, 1400))
    while one.receive(pair[0], 1, NOW_US):
        number += 1
        pair[1].send(numbered(number, 1400))
    read_all(one)
    one.release(one.position)
    assert one.receive(pair[0], 10, NOW_US) == 1
    assert not one.full
    assert read_all(one) == [numbered(number, 1400)]


def test_a_disk_without_room_is_a_full_journal(tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    one = journal(tmp_path)

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", no_room)
    pair[1].send(numbered(1, 1400))
    while one.receive(pair[0], 1, NOW_US):
        pair[1].send(numbered(1, 1400))
    assert one.full
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 1
    assert one.receive(pair[0], 10, NOW_US) == 1
    assert not one.full


def test_a_checkpoint_behind_the_end_is_told_and_new_datagrams_are_read(tmp_path: Path, pair: Pair) -> None:
    journal(tmp_path).close()
    one = journal(tmp_path, Position(7, 4096))
    receive_all(one, pair, [b"next"])
    assert one.missing
    assert read_all(one) == [b"next"]
    assert one.position > Position(7, 4096)


def test_a_checkpoint_before_the_beginning_is_told_and_reading_begins_with_what_is_there(
    tmp_path: Path, pair: Pair
) -> None:
    first = journal(tmp_path)
    receive_all(first, pair, [numbered(number) for number in range(1000)])
    first.read(600)
    first.release(first.position)
    first.close()
    one = journal(tmp_path, Position(0, 64))
    assert one.missing
    found = read_all(one)
    assert found == [numbered(number) for number in range(1000 - len(found), 1000)]
    assert len(found) >= 400


def test_a_segment_that_was_made_but_not_yet_reserved_is_an_empty_one(tmp_path: Path, pair: Pair) -> None:
    one = journal(tmp_path)
    receive_all(one, pair, [b"first"])
    one.close()
    (tmp_path / "000000000001.journal").write_bytes(b"")
    again = journal(tmp_path)
    receive_all(again, pair, [b"next"])
    assert read_all(again) == [b"first", b"next"]


def test_the_backlog_is_what_has_not_been_read(tmp_path: Path, pair: Pair) -> None:
    one = journal(tmp_path)
    receive_all(one, pair, [numbered(number) for number in range(10)])
    assert one.backlog_bytes == 10 * (HEADER_BYTES + 704)
    one.read(9)
    assert one.backlog_bytes == HEADER_BYTES + 704


def test_a_flush_from_another_thread_leaves_the_journal_as_it_was(tmp_path: Path, pair: Pair) -> None:
    one = journal(tmp_path)
    receive_all(one, pair, [numbered(number) for number in range(1000)])
    one.flush()()
    receive_all(one, pair, [b"next"])
    one.flush()()
    assert read_all(one)[-1] == b"next"


def test_pages_made_ready_ahead_hold_nothing_but_zeros(tmp_path: Path, pair: Pair) -> None:
    one = journal(tmp_path)
    receive_all(one, pair, [numbered(0)])
    one.close()
    behind = next(tmp_path.iterdir()).read_bytes()[HEADER_BYTES + 704 :]
    assert behind == bytes(len(behind))
    assert SLOT_MAX_BYTES < TOUCH_BYTES


def test_a_flush_that_the_disk_refuses_leaves_no_descriptor_open(tmp_path: Path, pair: Pair) -> None:
    one = journal(tmp_path)
    receive_all(one, pair, [numbered(1)])
    reading, writing = os.pipe()  # what cannot be synced: fsync(2) gives EINVAL
    one._unflushed.insert(0, reading)
    flush = one.flush()
    with pytest.raises(OSError, match="Invalid argument"):
        flush()
    os.close(writing)
    one.close()
    links = [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if _is_open(number)]
    assert [link for link in links if str(tmp_path) in link] == []


def _is_open(number: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{number}")
