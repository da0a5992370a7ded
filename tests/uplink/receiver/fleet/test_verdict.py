"""How a site is, in words: each reason alone, at its bound, and the gravest first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.uplink.receiver.fleet.fleets import NOW_MS, sighting
from uplink.receiver.fleet.verdict import REASONS, Known, judge, newest_version, version_key
from uplink.status import AgentStatus

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def of(silent_ms: int = 0, breaks: int = 0, **changes: object) -> Known:
    return Known(site="s", seen=sighting("s", NOW_MS - silent_ms, **changes), breaks=breaks)


def said(**changes: object) -> AgentStatus:
    return AgentStatus(version="0.2.0", **({"interval_s": 900} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("known", "health", "text"),
    [
        (of(), "ok", "All is well."),
        (Known(site="s"), "unheard", "Enrolled, and never heard since."),
        (of(silent_ms=45 * MINUTE), "ok", "All is well."),
        (of(silent_ms=46 * MINUTE), "attention", "Silent for 46 min."),
        (of(silent_ms=25 * HOUR), "broken", "Silent for 1 d 1 h."),
        (of(silent_ms=46 * MINUTE, status=None), "attention", "Silent for 46 min."),
        (of(silent_ms=2 * HOUR, status=said(interval_s=3600)), "ok", "All is well."),
        (of(silent_ms=2 * DAY, status=said(interval_s=DAY // 1000)), "ok", "All is well."),
        (of(silent_ms=4 * DAY, status=said(interval_s=10**9)), "broken", "Silent for 4 d."),
        (of(silent_ms=30_000, status=said(interval_s=1)), "ok", "All is well."),
        (of(silent_ms=61_000, status=said(interval_s=1)), "attention", "Silent for 1 min 1 s."),
        (of(silent_ms=46 * MINUTE, status=said(interval_s=-5)), "attention", "Silent for 46 min."),
        (of(skew_ms=5 * MINUTE), "ok", "All is well."),
        (of(skew_ms=27 * HOUR), "attention", "Its clock is 1 d 3 h ahead."),
        (of(skew_ms=-6 * MINUTE), "attention", "Its clock is 6 min behind."),
        (of(refused="gap"), "broken", "It sends events behind some that never came."),
        (
            of(refused="conflict"),
            "broken",
            "It shows another history than the platform holds: its ledger went back in time, or has a twin.",
        ),
        (of(breaks=2), "ok", "Its numbering began anew 2 times without showing what came before."),
        (of(status=said(problems=("dns", "disk_full"))), "attention", "The agent tells of dns, disk full."),
        (
            of(status=said(policy_outcome="refused 3f2a: seats: a pattern is too long")),
            "attention",
            "The agent did not take its policy: refused 3f2a: seats: a pattern is too long.",
        ),
        (of(status=said(policy_outcome="applied")), "ok", "All is well."),
        (of(status=said(backlog=7, oldest_s=(NOW_MS - 40 * MINUTE) // 1000)), "ok", "All is well."),
        (
            of(status=said(backlog=1200, oldest_s=(NOW_MS - HOUR) // 1000)),
            "attention",
            "1,200 events not acknowledged, the oldest for 1 h.",
        ),
    ],
)
def test_each_reason_has_its_words_and_its_bound(known: Known, health: str, text: str) -> None:
    verdict = judge(known, NOW_MS, "0.2.0")
    assert (verdict.health, verdict.text) == (health, text)


def test_a_wrong_clock_makes_no_backlog_old() -> None:
    """The oldest event was recorded a minute before, by the same clock, which is a day ahead."""
    status = said(backlog=3, oldest_s=(NOW_MS + DAY - MINUTE) // 1000)
    assert [each.code for each in judge(of(skew_ms=DAY, status=status), NOW_MS).findings] == ["clock"]


def test_the_gravest_is_told_and_the_others_are_counted() -> None:
    verdict = judge(of(silent_ms=2 * HOUR, refused="conflict", breaks=1), NOW_MS)
    assert [each.code for each in verdict.findings] == ["conflict", "silent", "break"]
    assert verdict.text.endswith(" Also: silent, numbering anew.")


def test_since_when_it_is_so_is_told_where_that_is_known() -> None:
    status = said(backlog=7, oldest_s=(NOW_MS - HOUR) // 1000)
    known = of(
        silent_ms=2 * HOUR,
        refused="gap",
        refused_since_ms=5,
        skew_ms=27 * HOUR,
        wrong_since_ms=7,
        status=said(problems=("dns",)),
    )
    assert {each.code: each.since_ms for each in judge(known, NOW_MS).findings} == {
        "gap": 5,
        "silent": NOW_MS - 2 * HOUR,
        "clock": 7,
        "problems": 0,
    }
    assert [each.since_ms for each in judge(of(status=status), NOW_MS, "0.2.0").findings] == [NOW_MS - HOUR]


@given(st.builds(AgentStatus, version=st.sampled_from(["", "0.1", "9"]), problems=st.just(("x",))), st.booleans())
def test_every_finding_can_be_chosen_by(status: AgentStatus, refused: bool) -> None:
    known = of(silent_ms=5 * DAY, breaks=1, skew_ms=DAY, refused="gap" if refused else "conflict", status=status)
    assert {each.code for each in judge(known, NOW_MS, "1.0").findings} <= set(REASONS)


def test_an_old_version_is_told_and_is_no_trouble() -> None:
    verdict = judge(of(), NOW_MS, "0.10.0")
    assert (verdict.health, verdict.text) == ("ok", "Version 0.2.0; others of the fleet have 0.10.0.")


def test_versions_are_ordered_by_their_numbers() -> None:
    assert newest_version(["0.9.0", "0.10.0", "", "nonsense", "0.2"]) == "0.10.0"
    assert newest_version([]) == ""
    assert version_key("1.2.3rc1+local") == (1, 2, 3)


@given(
    st.builds(
        AgentStatus,
        version=st.text(max_size=20),
        backlog=st.integers(-(10**15), 10**15),
        oldest_s=st.integers(-(10**15), 10**15),
        interval_s=st.integers(-(10**15), 10**15),
        problems=st.lists(st.text(max_size=10), max_size=3).map(tuple),
    ),
    st.integers(-(10**18), 10**18),
)
def test_whatever_an_agent_says_there_is_a_verdict(status: AgentStatus, skew_ms: int) -> None:
    judge(of(status=status, skew_ms=skew_ms), NOW_MS, "1.0")
