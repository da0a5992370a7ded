"""The pure decisions: is this file the one that was read, and which comes next."""

import pytest

from collectors.io import tail_plan
from collectors.io.tail_plan import Mark, Sight, digest

SECOND = 1_000_000_000


def mark(inode: int = 7, offset: int = 5000, mtime_ns: int = 50 * SECOND) -> Mark:
    return Mark(3, inode, offset, 4, digest(b"head"), digest(b"tail"), mtime_ns)


def sight(name: str, inode: int, seconds: int = 60, *, same: bool = False, size: int = 9000) -> Sight:
    return Sight(name, inode, size, seconds * SECOND, same)


def test_the_file_under_the_path_is_the_one_when_its_bytes_are_the_same_even_under_another_inode() -> None:
    assert tail_plan.home(mark(), sight("m", 99, same=True), []) == sight("m", 99, same=True)


def test_a_reused_inode_with_other_bytes_is_another_file() -> None:
    assert tail_plan.home(mark(inode=7), sight("m", 7, same=False), []) is None


def test_a_rotated_file_is_found_under_its_new_name() -> None:
    renamed = sight("m.1", 7, same=True)
    assert tail_plan.home(mark(inode=7), sight("m", 8), [sight("m.2", 6), renamed]) == renamed


def test_among_equal_copies_the_same_inode_wins_and_then_the_longest() -> None:
    short, long = sight("m.bak", 20, same=True, size=5000), sight("m.1", 21, same=True, size=8000)
    assert tail_plan.home(mark(inode=7), None, [short, long]) == long
    assert tail_plan.home(mark(inode=20), None, [short, long]) == short


@pytest.mark.parametrize("offset", [0, 500])
def test_where_hardly_anything_was_read_a_renamed_file_is_just_the_oldest_unread_one(offset: int) -> None:
    young, renamed, now = mark(inode=7, offset=offset), sight("m.1", 7, 50, same=True), sight("m", 8, 70)
    assert tail_plan.home(young, now, [renamed]) is None
    assert tail_plan.successor(young, now, [sight("m.2", 6, 40), renamed], False) == renamed
    assert tail_plan.successor(young, now, [sight("m.2", 6, 40), renamed], True) == now


def test_where_no_more_than_a_header_was_read_a_younger_file_beside_it_means_that_it_was_cut() -> None:
    now, copy = sight("m", 7, 70, same=True), sight("m.1", 8, 60, same=True)
    assert tail_plan.home(mark(inode=7, offset=500), now, [copy]) is None
    assert tail_plan.successor(mark(inode=7, offset=500), now, [copy], False) == copy
    assert tail_plan.home(mark(inode=7, offset=5000), now, [copy]) == now


def test_generations_that_came_while_nobody_looked_are_read_in_the_order_of_their_age() -> None:
    own, older = sight("m.3", 7, 50, same=True), sight("m.4", 6, 40)
    first, second = sight("m.2", 8, 55), sight("m.1", 9, 60)
    now = sight("m", 10, 70)
    assert tail_plan.successor(mark(inode=7), now, [second, older, own, first], True) == first
    assert (
        tail_plan.successor(mark(inode=8, mtime_ns=55 * SECOND, offset=0), now, [second, older, own, first], True)
        == second
    )
    assert (
        tail_plan.successor(mark(inode=9, mtime_ns=60 * SECOND, offset=0), now, [second, older, own, first], True)
        == now
    )


def test_names_order_files_of_one_instant() -> None:
    assert tail_plan.age(sight("m.2", 1)) < tail_plan.age(sight("m.1", 1)) < tail_plan.age(sight("m", 1))
    assert tail_plan.age(sight("m-20261119", 1)) < tail_plan.age(sight("m-20261120", 1))


def test_an_empty_rotated_file_is_passed_over() -> None:
    now = sight("m", 10, 70)
    assert tail_plan.successor(mark(), now, [sight("m.1", 8, 60, size=0)], True) == now


def test_a_compressed_file_of_the_marks_own_time_proves_that_nothing_was_missed() -> None:
    at = mark(mtime_ns=50 * SECOND + 123)
    assert tail_plan.was_read_whole(at, [Sight("m.1.gz", 9, 10, 50 * SECOND + 123)])
    assert tail_plan.was_read_whole(at, [Sight("m.1.gz", 9, 10, 50 * SECOND)])
    assert not tail_plan.was_read_whole(at, [Sight("m.1.gz", 9, 10, 51 * SECOND)])
    assert not tail_plan.was_read_whole(at, [])


@pytest.mark.parametrize(
    ("name", "rotated"),
    [
        ("Master.csv.1", True),
        ("Master.csv-20261120", True),
        ("Master.csv-20261120.gz", True),
        ("Master.csv.2026-11-20-10-00-00", True),
        ("Master-20261120.csv", True),
        ("Master.1.csv.gz", True),
        ("Master.csv", False),
        ("Master.csv.bak", False),
        ("Master2.csv", False),
        ("Master-1.txt", False),
        ("Masterplan.csv", False),
    ],
)
def test_names_that_rotation_gives(name: str, rotated: bool) -> None:
    assert tail_plan.is_rotated_name("Master.csv", name) is rotated
