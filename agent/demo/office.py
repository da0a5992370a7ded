"""The office: its two houses, its numbers, and what is true of a call that it played.

Laws
- Desks are named for what they do. Outside numbers are of the ranges that Ofcom keeps free for drama; the mobile ones lie
  around the numbering plan library's own example, since the library knows no mobile number for drama.
- The main house has an Asterisk that writes Master.csv, the annex a phone system that is heard by its SIP.
- What a call should come to is worked out here, by the office's own arithmetic.
"""

from typing import Literal

from msgspec import Struct

Way = Literal["cdr", "sip"]
"""How the call is heard: the source's name in the configuration."""
Outcome = Literal["answered", "no_answer", "busy", "cancelled"]

MAIN_HOUSE = {
    "101": "Reception",
    "102": "Sales 1",
    "103": "Sales 2",
    "104": "Sales 3",
    "105": "Support 1",
    "106": "Support 2",
    "107": "Support 3",
    "108": "Accounts",
    "109": "Purchasing",
    "110": "Warehouse",
    "111": "Workshop",
    "112": "Board room",
}
ANNEX = {
    "121": "Annex desk",
    "122": "Design 1",
    "123": "Design 2",
    "124": "Design 3",
    "125": "Print shop",
    "126": "Paint shop",
    "127": "Loading bay",
    "128": "Drivers",
    "129": "Kitchen",
    "130": "Canteen",
    "131": "Porter",
    "132": "Night watch",
}
DESKS: dict[Way, dict[str, str]] = {"cdr": MAIN_HOUSE, "sip": ANNEX}
GROUP, MAILBOXES, QUEUE = "200", "*97", "700"
DID = "02079460100"

OUTSIDE = {
    "local": ("020794601", ""),
    "national": ("011349601", ""),
    "mobile": ("074001234", ""),
    "international": ("00121255501", "US"),
    "toll_free": ("080815701", ""),
}
"""Class -> the digits before the last two, and the country where it is abroad. As dialled in London."""

COUNTRY, AREA = "GB", "20"
INCREMENT_S, MINIMUM_S = 6, 30


class PlayedCall(Struct, frozen=True, kw_only=True):
    """One call. Instants are ms since the epoch. `key`: the linkedid, or the caller's Call-ID. `rings`: the desks that
    ring, all at once or (queue) one after the other. `answered_by` is a desk, an outside number or empty. `turned_at_ms`:
    when its second part began (mailbox, next agent, transfer to `moved_to`), 0 where it has one part only."""

    way: Way
    key: str
    kind: str
    caller: str
    dialled: str
    started_at_ms: int
    answered_at_ms: int | None
    ended_at_ms: int
    outcome: Outcome
    call_class: str
    country: str = ""
    rings: tuple[str, ...] = ()
    answered_by: str = ""
    moved_to: str = ""
    turned_at_ms: int = 0

    @property
    def talk_ms(self) -> int:
        return 0 if self.answered_at_ms is None else self.ended_at_ms - self.answered_at_ms

    @property
    def billed_s(self) -> int:
        """Every six seconds that began count, and thirty at least."""
        if self.answered_at_ms is None:
            return 0
        begun, rest = divmod(self.talk_ms, INCREMENT_S * 1000)
        return max(MINIMUM_S, INCREMENT_S * (begun + 1 if rest else begun))

    @property
    def seats(self) -> frozenset[str]:
        """The desks that placed it, rang or took part."""
        return frozenset({self.caller, self.answered_by, self.moved_to, *self.rings} & DESKS[self.way].keys())

    @property
    def outside(self) -> bool:
        """Whether its caller is outside."""
        return self.caller not in DESKS[self.way]
