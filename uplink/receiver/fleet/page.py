"""The fleet's pages as HTML. Pure: the same knowledge and time give the same text.

Everything that comes from sites and operators is text to the templates, never markup (autoescape is on for all of it).
"""

from datetime import date, timedelta
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment
from msgspec import Struct

from uplink.pages.templates import environment
from uplink.pages.words import coarse
from uplink.receiver.fleet import words
from uplink.receiver.fleet.chart import chart
from uplink.receiver.fleet.roster import ORDERS, Page, Roster
from uplink.receiver.fleet.sessions import Visitor
from uplink.receiver.fleet.siteday import SiteDay
from uplink.receiver.fleet.verdict import HEALTHS, Verdict, plain

HEALTH_WORDS = {"ok": "Healthy", "attention": "Needs attention", "broken": "Broken", "unheard": "Never heard"}
SEVERITY_WORDS = {"notice": "Notice", "warning": "Warning", "error": "Error"}
CONTINUES_WORDS = {
    "first": "the first",
    "yes": "where the one before it ended",
    "no": "another end than the platform holds",
    "unnamed": "nothing that it names",
}
ORDER_WORDS = {
    "worst": "worst first",
    "silence": "longest silent first",
    "backlog": "largest backlog first",
    "site": "by name",
}


class Asked(Struct, frozen=True, kw_only=True):
    """What of the list is looked at."""

    search: str = ""
    health: str = ""
    order: str = "worst"
    number: int = 1

    def link(self, **changes: str | int) -> str:
        """The address of the same look with something changed; any change but the page's leads to the first page."""
        values = {"q": self.search, "health": self.health, "order": self.order, "page": 1} | changes
        idle = {"q": "", "health": "", "order": "worst", "page": 1}
        query = urlencode({name: value for name, value in values.items() if value != idle[name]})
        return f"/fleet?{query}" if query else "/fleet"


@cache
def _environment() -> Environment:
    made = environment("uplink.receiver.fleet")
    made.filters.update(span=coarse, skew=words.skew, day=words.day, segment=_segment)
    made.globals.update(
        health_words=HEALTH_WORDS,
        severity_words=SEVERITY_WORDS,
        order_words=ORDER_WORDS,
        continues_words=CONTINUES_WORDS,
        healths=HEALTHS,
        plain=plain,
        iso=words.iso,
    )
    return made


def _segment(text: str) -> str:
    return quote(text, safe="")


def _render(template: str, now_ms: int, tag: str, visitor: Visitor | None, **view: Any) -> str:
    view |= {
        "asset_tag": tag,
        "visitor": visitor,
        "now_ms": now_ms,
        "clock": lambda at_ms: words.clock(at_ms, now_ms),
        "ago": lambda at_ms: words.ago(at_ms, now_ms),
    }
    return _environment().get_template(template).render(view)


def sites_page(roster: Roster, page: Page, asked: Asked, visitor: Visitor, now_ms: int, tag: str) -> str:
    return _render("sites.html", now_ms, tag, visitor, roster=roster, page=page, asked=asked, orders=tuple(ORDERS))


def site_page(site: SiteDay, verdict: Verdict, visitor: Visitor, now_ms: int, tag: str) -> str:
    day, seen = date.fromisoformat(site.day), site.known.seen
    status = seen.status if seen else None
    # By the platform's clock, so that it stands beside the other times.
    oldest_ms = status.oldest_s * 1000 - seen.skew_ms if seen and status else 0
    return _render(
        "site.html",
        now_ms,
        tag,
        visitor,
        site=site,
        verdict=verdict,
        chart=chart(site.calls),
        oldest_ms=oldest_ms if 0 < oldest_ms < now_ms else 0,
        link=f"/fleet/sites/{quote(site.known.site, safe='')}",
        before=day - timedelta(days=1),
        after=day + timedelta(days=1) if site.day < words.day_of(now_ms) else "",
    )


def login_page(now_ms: int, tag: str, said: str = "", name: str = "", onward: str = "/fleet") -> str:
    """`said`: why the last attempt was none. `onward`: where it leads."""
    return _render("login.html", now_ms, tag, None, said=said, name=name, onward=onward)


def trouble_page(title: str, text: str, now_ms: int, tag: str) -> str:
    """For a refusal or a failure: what is wrong, in a sentence."""
    return _render("trouble.html", now_ms, tag, None, title=title, text=text)
