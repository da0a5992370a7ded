"""The fleet's pages as HTML. Pure: the same knowledge and time give the same text.

Everything that comes from sites and operators is text to the templates, never markup (autoescape is on for all of it).
"""

from datetime import date, timedelta
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment
from msgspec import Struct

from uplink.pages.templates import environment
from uplink.pages.words import coarse
from uplink.receiver.agents import AgentKey
from uplink.receiver.fleet import asked, words
from uplink.receiver.fleet.chart import chart
from uplink.receiver.fleet.meanings import Meanings
from uplink.receiver.fleet.roster import ORDERS, Page, Roster, Wish
from uplink.receiver.fleet.sessions import Visitor
from uplink.receiver.fleet.siteday import SiteDay
from uplink.receiver.fleet.verdict import HEALTHS, REASONS, Known, Verdict, oldest_ms, plain

HEALTH_WORDS = {"ok": "Healthy", "attention": "Needs attention", "broken": "Broken", "unheard": "Never heard"}
SEVERITY_WORDS = {"notice": "Notice", "warning": "Warning", "error": "Error", "critical": "Error"}
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
    "clock": "most wrong clock first",
    "version": "oldest version first",
    "site": "by name",
}
STATE_WORDS = {"new": "not used yet", "active": "in use", "retired": "replaced", "revoked": "revoked"}
BY_WORDS = {"token": "a bearer token", "certificate": "a client certificate"}
ACT_WORDS = {
    "resend": "asked to send again",
    "resend_withdrawn": "withdrew what was to be sent again",
    "revoke": "revoked the key",
    "revoke_certificate": "revoked the client certificate",
    "rotate": "asked for another key in the place of",
    "name": "named it",
    "mended": "wrote again what was missing here",
}


class Frame(Struct, frozen=True):
    """What every page has: the time, the tag of the assets, and who looks."""

    now_ms: int
    asset_tag: str
    visitor: Visitor | None = None


@cache
def _environment() -> Environment:
    made = environment("uplink.receiver.fleet")
    made.filters.update(span=coarse, skew=words.skew, skew_said=words.skew_said, day=words.day, segment=_segment)
    made.globals.update(
        health_words=HEALTH_WORDS,
        severity_words=SEVERITY_WORDS,
        order_words=ORDER_WORDS,
        continues_words=CONTINUES_WORDS,
        state_words=STATE_WORDS,
        by_words=BY_WORDS,
        act_words=ACT_WORDS,
        reason_words=REASONS,
        healths=HEALTHS,
        orders=tuple(ORDERS),
        plain=plain,
        iso=words.iso,
        oldest_ms=oldest_ms,
    )
    return made


def _segment(text: str) -> str:
    return quote(text, safe="")


def _render(template: str, frame: Frame, **view: Any) -> str:
    now_ms = frame.now_ms
    view |= {
        "asset_tag": frame.asset_tag,
        "visitor": frame.visitor,
        "is_admin": frame.visitor is not None and frame.visitor.is_admin(),
        "now_ms": now_ms,
        "clock": lambda at_ms: words.clock(at_ms, now_ms),
        "ago": lambda at_ms: words.ago(at_ms, now_ms),
    }
    return _environment().get_template(template).render(view)


def sites_page(frame: Frame, roster: Roster, page: Page, wish: Wish, meanings: Meanings) -> str:
    def link(**changes: str | int) -> str:
        return asked.link(wish, **changes)

    return _render(
        "sites.html",
        frame,
        roster=roster,
        page=page,
        wish=wish,
        link=link,
        is_choosy=asked.is_choosy(wish),
        shows_clock=bool(roster.reasons.get("clock")) or wish.order == "clock",
        meanings=meanings,
    )


def problems_page(frame: Frame, roster: Roster, meanings: Meanings) -> str:
    """Every code, those that some agent tells first."""
    codes = sorted({*meanings, *roster.problems}, key=lambda code: (-roster.problems.get(code, 0), code))
    return _render(
        "problems.html",
        frame,
        codes=codes,
        counts=roster.problems,
        meanings=meanings,
        link=lambda code: asked.link(Wish(), problem=code),
    )


def site_page(frame: Frame, site: SiteDay, verdict: Verdict, meanings: Meanings) -> str:
    day, today = date.fromisoformat(site.day), words.day_of(frame.now_ms)
    return _render(
        "site.html",
        frame,
        site=site,
        verdict=verdict,
        meanings=meanings,
        chart=chart(site.calls),
        link=_link(site.known),
        today=today,
        before=day - timedelta(days=1),
        after=day + timedelta(days=1) if site.day < today else "",
        can_resend=any(each.acked_through for each in site.epochs),
    )


def revoke_page(frame: Frame, known: Known, key: AgentKey) -> str:
    """Asks once more."""
    return _render("revoke.html", frame, known=known, key=key, link=_link(known))


def _link(known: Known) -> str:
    return f"{asked.HOME}/sites/{_segment(known.site)}"


def login_page(frame: Frame, said: str = "", name: str = "", onward: str = asked.HOME) -> str:
    """`said`: why the last attempt was none. `onward`: where it leads."""
    return _render("login.html", frame, said=said, name=name, onward=onward)


def trouble_page(frame: Frame, title: str, text: str) -> str:
    """For a refusal or a failure: what is wrong, in a sentence."""
    return _render("trouble.html", frame, title=title, text=text)
