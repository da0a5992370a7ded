"""What of the list of sites is looked at, as an address: read from its query, and written into links. Pure."""

from collections.abc import Mapping
from urllib.parse import urlencode

from msgspec.structs import asdict, replace

from uplink.receiver.fleet.roster import ORDERS, Wish
from uplink.receiver.fleet.verdict import HEALTHS, REASONS

HOME = "/fleet"
TEXT_MAX_CHARS = 120
_QUERY = {
    "search": "q",
    "health": "health",
    "reason": "why",
    "version": "version",
    "problem": "problem",
    "order": "order",
    "number": "page",
}
_IDLE = asdict(Wish())


def read(query: Mapping[str, str]) -> Wish:
    """Raises ValueError where there is no such list."""
    given = {name: text for name, short in _QUERY.items() if (text := query.get(short, "")[:TEXT_MAX_CHARS].strip())}
    number = given.pop("number", "1")
    wish = Wish(**given)  # type: ignore[arg-type]
    if wish.health not in ("", *HEALTHS) or wish.reason not in ("", *REASONS) or wish.order not in ORDERS:
        raise ValueError("no such list of sites")
    if not (number.isascii() and number.isdigit() and len(number) <= 6):
        raise ValueError("no such page")
    return replace(wish, number=int(number))


def link(wish: Wish, **changes: str | int) -> str:
    """The address of the same look with something changed; any change but the page's leads to the first page."""
    values = asdict(wish) | {"number": 1} | changes
    query = urlencode({short: values[name] for name, short in _QUERY.items() if values[name] != _IDLE[name]})
    return f"{HOME}?{query}" if query else HOME


def is_choosy(wish: Wish) -> bool:
    """Whether some sites are left out."""
    return any((wish.search, wish.health, wish.reason, wish.version, wish.problem))
