"""All sites with their verdicts, the worst first; sought, ordered and cut into pages. Pure.

Law: a verdict is worked out once for a list, not for each look at it; a page is cut out of what stands.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from uplink.receiver.fleet.verdict import HEALTHS, Health, Known, Verdict, judge, newest_version

PAGE_SITES = 100


class Listed(Struct, frozen=True, gc=False):
    """A site in the list. `sought` is what a search looks in."""

    known: Known
    verdict: Verdict
    sought: str


class Roster(Struct, frozen=True, kw_only=True):
    """`orders`: all sites in each order of ORDERS. `counts`: sites by health."""

    made_ms: int
    orders: Mapping[str, tuple[Listed, ...]]
    counts: Mapping[Health, int]
    newest: str


class Page(Struct, frozen=True, kw_only=True):
    """What was asked for: `found` sites in all, of which these stand on page `number` of `pages`."""

    sites: tuple[Listed, ...]
    found: int
    number: int
    pages: int


Order = Callable[[Listed], tuple[int | str, ...]]
ORDERS: Mapping[str, Order] = {
    "worst": lambda each: (
        HEALTHS.index(each.verdict.health),
        -len(each.verdict.findings),
        _seen_ms(each),
        each.known.site,
    ),
    "silence": lambda each: (_seen_ms(each), each.known.site),
    "backlog": lambda each: (-_backlog(each), each.known.site),
    "site": lambda each: (each.known.name.casefold() or each.known.site, each.known.site),
}


def _seen_ms(each: Listed) -> int:
    return each.known.seen.seen_ms if each.known.seen else 0


def _backlog(each: Listed) -> int:
    return each.known.seen.status.backlog if each.known.seen and each.known.seen.status else 0


def made(sites: Iterable[Known], now_ms: int) -> Roster:
    """The roster of these sites at this time."""
    known = list(sites)
    newest = newest_version(each.seen.status.version for each in known if each.seen and each.seen.status)
    listed = [Listed(each, judge(each, now_ms, newest), f"{each.site}\n{each.name}".casefold()) for each in known]
    counts = dict.fromkeys(HEALTHS, 0)
    for each in listed:
        counts[each.verdict.health] += 1
    orders = {name: tuple(sorted(listed, key=order)) for name, order in ORDERS.items()}
    return Roster(made_ms=now_ms, orders=orders, counts=counts, newest=newest)


def page(roster: Roster, search: str = "", health: str = "", order: str = "worst", number: int = 1) -> Page:
    """The sites whose id or name has `search` in it; of one health, if it is given. A page that is none is the nearest one."""
    sought = search.casefold().strip()
    found: Sequence[Listed] = roster.orders[order]
    if sought or health:
        found = [each for each in found if sought in each.sought and health in ("", each.verdict.health)]
    pages = max(1, -(-len(found) // PAGE_SITES))
    number = min(max(1, number), pages)
    shown = tuple(found[(number - 1) * PAGE_SITES : number * PAGE_SITES])
    return Page(sites=shown, found=len(found), number=number, pages=pages)
