"""The plan of calls is one that people could make."""

from collections import defaultdict
from itertools import islice, pairwise

import pytest

from agent.demo.office import DESKS, PlayedCall
from agent.demo.plan import KINDS, Plan

START_MS = 1_795_168_800_123


def planned(seed: int, seconds: int) -> list[PlayedCall]:
    return list(Plan(seed, START_MS, START_MS + seconds * 1000).calls())


@pytest.mark.parametrize("seed", range(20))
def test_nobody_is_in_two_calls_at_once(seed: int) -> None:
    spans = defaultdict(list)
    for call in planned(seed, 600):
        for one in {call.caller, call.answered_by, call.moved_to, *call.rings} - {""}:
            spans[one].append((call.started_at_ms, call.ended_at_ms))
    for calls in spans.values():
        assert all(before[1] < after[0] for before, after in pairwise(sorted(calls)))


@pytest.mark.parametrize("seconds", [5, 20, 600])
def test_every_call_lies_within_the_plan(seconds: int) -> None:
    for seed in range(20):
        for call in planned(seed, seconds):
            assert START_MS <= call.started_at_ms < call.ended_at_ms <= START_MS + seconds * 1000


def test_ten_minutes_hold_every_kind_of_call() -> None:
    made = {(call.way, call.kind) for call in planned(1, 600)}
    assert made == {(way, kind) for way, kinds in KINDS.items() for kind in kinds}


def test_a_plan_without_an_end_goes_on() -> None:
    assert len(list(islice(Plan(1, START_MS, None).calls(), 500))) == 500


def test_the_same_seed_gives_the_same_plan() -> None:
    assert planned(7, 600) == planned(7, 600)
    assert planned(7, 600) != planned(8, 600)


def test_calls_of_one_house_stay_in_it_and_its_seats_are_desks() -> None:
    for call in planned(3, 600):
        assert call.seats
        assert call.seats <= DESKS[call.way].keys()


def test_no_two_calls_of_the_annex_begin_in_one_millisecond_nor_on_a_second() -> None:
    for seed in range(20):
        starts = [call.started_at_ms for call in planned(seed, 600) if call.way == "sip"]
        assert len(starts) == len(set(starts))
        assert all(start % 1000 for start in starts)


def call_of(talk_ms: int | None) -> PlayedCall:
    answered_ms = None if talk_ms is None else START_MS
    return PlayedCall(
        way="sip",
        key="k",
        kind="answered",
        caller="121",
        dialled="122",
        started_at_ms=START_MS - 1,
        answered_at_ms=answered_ms,
        ended_at_ms=START_MS + (talk_ms or 0),
        outcome="no_answer" if talk_ms is None else "answered",
        call_class="internal",
    )


@pytest.mark.parametrize(
    ("talk_ms", "billed_s"),
    [(None, 0), (1, 30), (30_000, 30), (30_001, 36), (36_000, 36), (61_000, 66), (119_999, 120)],
)
def test_six_seconds_that_began_count_and_thirty_at_least(talk_ms: int | None, billed_s: int) -> None:
    assert call_of(talk_ms).billed_s == billed_s
