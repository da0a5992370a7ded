"""What is looked at, as an address: there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from uplink.receiver.fleet.asked import TEXT_MAX_CHARS, is_choosy, link, read
from uplink.receiver.fleet.roster import ORDERS, Wish
from uplink.receiver.fleet.verdict import HEALTHS, REASONS

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=TEXT_MAX_CHARS).map(str.strip)
WISHES = st.builds(
    Wish,
    search=WORDS,
    health=st.sampled_from(("", *HEALTHS)),
    reason=st.sampled_from(("", *REASONS)),
    version=WORDS,
    problem=WORDS,
    order=st.sampled_from(tuple(ORDERS)),
    number=st.integers(1, 10**6 - 1),
)


@given(WISHES)
def test_a_link_leads_to_what_is_looked_at(wish: Wish) -> None:
    assert read(URL(link(wish, number=wish.number), encoded=True).query) == wish


def test_a_change_leads_to_the_first_page() -> None:
    wish = Wish(search="a b", health="broken", number=7)
    assert link(wish, order="site") == "/fleet?q=a+b&health=broken&order=site"
    assert link(wish, number=8) == "/fleet?q=a+b&health=broken&page=8"
    assert link(Wish()) == "/fleet"
    assert (is_choosy(wish), is_choosy(Wish(order="site", number=3))) == (True, False)


@pytest.mark.parametrize("query", ["page=x", "page=-1", "page=1234567", "order=x", "health=x", "why=x"])
def test_what_is_no_list_is_refused(query: str) -> None:
    with pytest.raises(ValueError, match="no such"):
        read(URL(f"/fleet?{query}").query)
