"""The receiver against a model of it: any order of batches, cuts, repetitions and lies."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.uplink.site import START, chain_of, event_body
from uplink.batch import Head
from uplink.receiver.placing import Append, Conflict, Duplicate, Gap, Placement, asked, place

ONE = [event_body("site-1", "e-1", seq) for seq in range(1, 13)]
TWIN = ONE[:6] + [event_body("site-1", "e-1", seq, quantity="7") for seq in range(7, 13)]
"""Two histories of one epoch that part after event 6."""


def head_of(history: list[bytes], first: int, last: int) -> Head:
    return Head(
        epoch="e-1",
        first=first,
        last=last,
        count=last - first + 1,
        prev=chain_of(history[: first - 1]),
        chain=chain_of(history[:last]),
        head_time_s=1,
    )


def placed(stored: list[bytes], sent: list[bytes], first: int, last: int) -> Placement:
    head, acked = head_of(sent, first, last), len(stored)
    chains = {seq: chain_of(stored[:seq]) for seq in asked(acked, head)}
    return place(acked, head, sent[first - 1 : last], chains.__getitem__)


@pytest.mark.parametrize(
    ("stored", "sent", "first", "last", "placement"),
    [
        (0, ONE, 1, 5, Append()),
        (5, ONE, 6, 8, Append()),
        (5, ONE, 1, 5, Duplicate()),
        (5, ONE, 2, 4, Duplicate()),
        (5, ONE, 3, 8, Append(skip=3)),
        (5, ONE, 7, 8, Gap(6)),
        (0, ONE, 2, 2, Gap(1)),
        (5, ONE, 6, 5, Append()),
        (5, ONE, 9, 8, Gap(6)),
        (8, TWIN, 9, 10, Conflict("the chain before event 9 is another one")),
        (8, TWIN, 5, 7, Conflict("events 5 to 7 are other ones")),
        (8, TWIN, 5, 10, Conflict("events 5 to 8 are other ones")),
        (8, TWIN, 5, 6, Duplicate()),
        (8, ONE, 6, 5, Conflict("the site has 5 events, the platform 8: its ledger went back")),
    ],
)
def test_each_kind_of_batch_has_its_place(
    stored: int, sent: list[bytes], first: int, last: int, placement: Placement
) -> None:
    assert placed(ONE[:stored], sent, first, last) == placement


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 12), st.integers(0, 12)), max_size=30))
def test_whatever_is_sent_the_store_is_a_beginning_of_one_history(sends: list[tuple[bool, int, int]]) -> None:
    stored: list[bytes] = []
    for twin, first, count in sends:
        history, last = (TWIN if twin else ONE), min(12, first + count - 1)
        placement = placed(stored, history, first, last)
        if isinstance(placement, Append):
            stored += history[first - 1 : last][placement.skip :]
        if isinstance(placement, Append | Duplicate):
            assert stored[:last] == history[:last]
        if isinstance(placement, Gap):
            assert placement.expected == len(stored) + 1 < first
    assert stored in (ONE[: len(stored)], TWIN[: len(stored)])


def test_a_chain_value_commits_to_all_that_came_before() -> None:
    assert chain_of(ONE[:1]) == hashlib.sha256(START + ONE[0]).digest()
    assert chain_of(ONE[:7]) != chain_of(TWIN[:7])
