"""All sites with their verdicts, the worst first; sought, chosen, ordered and cut into pages. Pure.

Law: a verdict is worked out once for a list, not for each look at it; a page is cut out of what stands.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from uplink.receiver.fleet.verdict import HEALTHS, Health, Known, Verdict, judge, newest_version, version_key

PAGE_SITES = 100


class Listed(Struct, frozen=True, gc=False):
    """A site in the list. `sought` is what a search looks in; `version`, `backlog` and `problems` are what its agent said."""

    known: Known
    verdict: Verdict
    sought: str
    version: str = ""
    backlog: int = 0
    problems: tuple[str, ...] = ()


class Roster(Struct, frozen=True, kw_only=True):
    """`orders`: all sites in each order of ORDERS. How many sites there are `counts` by health, `reasons` by code of a finding,
    `problems` by code that their agents tell, and `versions`, the newest first. `backlog`: events of all of them."""

    made_ms: int
    orders: Mapping[str, tuple[Listed, ...]]
    counts: Mapping[Health, int]
    reasons: Mapping[str, int]
    problems: Mapping[str, int]
    versions: Mapping[str, int]
    newest: str
    backlog: int


class Page(Struct, frozen=True, kw_only=True):
    """What was asked for: `found` sites in all, of which these stand on page `number` of `pages`."""

    sites: tuple[Listed, ...]
    found: int
    number: int
    pages: int


class Wish(Struct, frozen=True, kw_only=True):
    """Which sites, and which page of them. `reason`: a code of a finding; `problem`: a code that an agent tells. Empty: any."""

    search: str = ""
    health: str = ""
    reason: str = ""
    version: str = ""
    problem: str = ""
    order: str = "worst"
    number: int = 1


_RANK: Mapping[Health, int] = {health: rank for rank, health in enumerate(HEALTHS)}
_UNTOLD = (10**9,)
"""Behind every version."""
Order = Callable[[Listed], int | tuple[int, ...]]
ORDERS: Mapping[str, Order] = {
    "worst": lambda each: (_RANK[each.verdict.health], -len(each.verdict.findings), _seen_ms(each)),
    "silence": lambda each: _seen_ms(each),
    "backlog": lambda each: -each.backlog,
    "clock": lambda each: -abs(each.known.seen.skew_ms) if each.known.seen else 1,
    "version": lambda each: version_key(each.version) or _UNTOLD,
    "site": lambda each: 0,
}
"""Among equals by name. One figure a site where that will do: a hundred thousand are put in order six times."""


def _seen_ms(each: Listed) -> int:
    return each.known.seen.seen_ms if each.known.seen else 0


def _by_name(each: Listed) -> tuple[str, str]:
    return each.known.name.casefold() or each.known.site, each.known.site


def made(sites: Iterable[Known], now_ms: int, pace: Callable[[Iterable[Known]], Iterable[Known]] = iter) -> Roster:
    """The roster of these sites at this time. `pace` gives them on, and lets others run between them."""
    known = list(sites)
    newest = newest_version(each.seen.status.version for each in known if each.seen and each.seen.status)
    listed = sorted((_listed(each, judge(each, now_ms, newest)) for each in pace(known)), key=_by_name)
    versions = Counter(each.version for each in listed if each.version)
    return Roster(
        made_ms=now_ms,
        orders={name: tuple(sorted(listed, key=order)) for name, order in ORDERS.items()},
        counts={**dict.fromkeys(HEALTHS, 0), **Counter(each.verdict.health for each in listed)},
        reasons=Counter(finding.code for each in listed for finding in each.verdict.findings),
        problems=Counter(code for each in listed for code in set(each.problems)),
        versions=dict(sorted(versions.items(), key=lambda item: version_key(item[0]), reverse=True)),
        newest=newest,
        backlog=sum(max(0, each.backlog) for each in listed),
    )


def _listed(known: Known, verdict: Verdict) -> Listed:
    sought, status = f"{known.site}\n{known.name}".casefold(), known.seen.status if known.seen else None
    if status is None:
        return Listed(known, verdict, sought)
    return Listed(known, verdict, sought, status.version, status.backlog, status.problems)


def page(roster: Roster, wish: Wish) -> Page:
    """The sites that are wished for; a page that is none is the nearest one. A search is for what an id or a name has in it."""
    found: Sequence[Listed] = roster.orders[wish.order]
    for chosen in _choices(wish):
        found = [each for each in found if chosen(each)]
    pages = max(1, -(-len(found) // PAGE_SITES))
    number = min(max(1, wish.number), pages)
    shown = tuple(found[(number - 1) * PAGE_SITES : number * PAGE_SITES])
    return Page(sites=shown, found=len(found), number=number, pages=pages)


def _choices(wish: Wish) -> Iterable[Callable[[Listed], bool]]:
    """The cheap ones first."""
    if wish.health:
        yield lambda each: each.verdict.health == wish.health
    if wish.version:
        yield lambda each: each.version == wish.version
    if wish.problem:
        yield lambda each: wish.problem in each.problems
    if sought := wish.search.casefold().strip():
        yield lambda each: sought in each.sought
    if wish.reason:
        yield lambda each: any(finding.code == wish.reason for finding in each.verdict.findings)
