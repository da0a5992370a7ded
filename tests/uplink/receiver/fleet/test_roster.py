"""The list of sites: order, search, pages; and what a page of ten thousand costs beside one of a hundred."""

import time
from collections.abc import Callable

from tests.uplink.receiver.fleet.fleets import NOW_MS, sighting
from uplink.receiver.fleet.roster import PAGE_SITES, Page, Roster, Wish, made, page
from uplink.receiver.fleet.verdict import Known
from uplink.status import AgentStatus

HOUR = 3_600_000


def known(site: str, silent_ms: int = 0, name: str = "", **changes: object) -> Known:
    return Known(site=site, name=name, seen=sighting(site, NOW_MS - silent_ms, **changes))


FLEET = made(
    [
        known("b", name="Überlingen"),
        known("a"),
        known("late", 2 * HOUR),
        known("later", 3 * HOUR),
        known("gone", 48 * HOUR),
        known("old", status=AgentStatus(version="0.1.0", interval_s=900)),
        known("twin", refused="conflict"),
        known("full", status=AgentStatus(version="0.2.0", interval_s=900, backlog=9)),
        Known(site="new"),
    ],
    NOW_MS,
)


def ids(shown: Page) -> list[str]:
    return [each.known.site for each in shown.sites]


def test_the_worst_come_first_and_among_equals_the_one_silent_longest() -> None:
    assert ids(page(FLEET, Wish())) == ["gone", "twin", "later", "late", "new", "old", "a", "full", "b"]
    assert FLEET.counts == {"broken": 2, "attention": 2, "unheard": 1, "ok": 4}
    assert FLEET.newest == "0.2.0"


def test_other_orders() -> None:
    assert ids(page(FLEET, Wish(order="silence")))[:4] == ["new", "gone", "later", "late"]
    assert ids(page(FLEET, Wish(order="backlog")))[0] == "full"
    assert ids(page(FLEET, Wish(order="site"))) == ["a", "full", "gone", "late", "later", "new", "old", "twin", "b"]


def test_the_oldest_version_and_the_most_wrong_clock_come_first() -> None:
    assert ids(page(FLEET, Wish(order="version")))[:1] == ["old"]
    assert ids(page(FLEET, Wish(order="version")))[-1] == "new"
    clocks = made([known("a", skew_ms=-900_000), known("b"), known("c", skew_ms=400_000), Known(site="d")], NOW_MS)
    assert ids(page(clocks, Wish(order="clock"))) == ["a", "c", "b", "d"]


def test_sites_are_chosen_by_reason_by_version_and_by_what_their_agents_tell() -> None:
    sick = known("sick", skew_ms=-900_000, status=AgentStatus(version="0.2.0", problems=("dns", "disk_full", "dns")))
    slow = known("slow", skew_ms=400_000, status=AgentStatus(version="0.1.0", problems=("dns",)))
    fleet = made([sick, slow, known("well"), known("late", 2 * HOUR)], NOW_MS)
    assert fleet.reasons == {"clock": 2, "problems": 2, "silent": 1, "version": 1}
    assert fleet.problems == {"dns": 2, "disk_full": 1}
    assert list(fleet.versions.items()) == [("0.2.0", 3), ("0.1.0", 1)]
    for wish, wanted in (
        (Wish(reason="clock"), ["sick", "slow"]),
        (Wish(reason="silent"), ["late"]),
        (Wish(version="0.1.0"), ["slow"]),
        (Wish(problem="disk_full"), ["sick"]),
        (Wish(problem="dns", version="0.2.0"), ["sick"]),
        (Wish(problem="dns", search="well"), []),
    ):
        assert sorted(ids(page(fleet, wish))) == wanted, wish


def test_a_search_looks_in_ids_and_names_in_either_case() -> None:
    assert ids(page(FLEET, Wish(search="LATE"))) == ["later", "late"]
    assert ids(page(FLEET, Wish(search=" überl "))) == ["b"]
    assert ids(page(FLEET, Wish(search="late", health="broken"))) == []
    assert ids(page(FLEET, Wish(health="broken"))) == ["gone", "twin"]


def test_pages_are_whole_and_one_that_is_none_is_the_nearest() -> None:
    many = made((known(f"s{n:03}") for n in range(2 * PAGE_SITES + 1)), NOW_MS)
    first, second, third = (page(many, Wish(number=n)) for n in (1, 2, 3))
    assert ids(first) + ids(second) + ids(third) == [f"s{n:03}" for n in range(2 * PAGE_SITES + 1)]
    assert (third.pages, third.found) == (3, 2 * PAGE_SITES + 1)
    assert page(many, Wish(number=99)).number == 3
    assert page(many, Wish(number=0)).number == 1
    assert (page(many, Wish(search="nobody")).number, page(many, Wish(search="nobody")).pages) == (1, 1)


def best_s(look: Callable[[], object]) -> float:
    spent = []
    for _ in range(7):
        began = time.perf_counter()
        look()
        spent.append(time.perf_counter() - began)
    return min(spent)


def test_a_page_of_ten_thousand_costs_a_small_part_of_making_the_list() -> None:
    """By ratio, not by time: the machine that runs this may be busy."""
    sites = [known(f"site-{n:05}", n * 1000, f"Office {n}") for n in range(10_000)]
    fleet: list[Roster] = []
    making_s = best_s(lambda: fleet.append(made(sites, NOW_MS)))
    assert best_s(lambda: page(fleet[0], Wish(number=50))) < making_s / 50
    assert best_s(lambda: page(fleet[0], Wish(search="0123"))) < making_s / 5
    assert best_s(lambda: page(fleet[0], Wish(order="backlog", health="ok"))) < making_s / 5
