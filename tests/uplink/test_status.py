"""What an agent says of itself: written, read again, and of no consequence where it cannot be read."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uplink.status import PROBLEMS_MAX, WORD_MAX_CHARS, AgentStatus, parse, write
from uplink.structured import FIELD_MAX_CHARS

WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=WORD_MAX_CHARS)


@given(
    st.builds(
        AgentStatus,
        version=WORDS,
        backlog=st.integers(0, 10**12),
        oldest_s=st.integers(0, 10**10),
        interval_s=st.integers(0, 10**6),
        boot=WORDS,
        monotonic_s=st.integers(0, 10**9),
        problems=st.lists(st.from_regex(r"[a-z_]{1,30}", fullmatch=True), max_size=PROBLEMS_MAX).map(tuple),
        policy=WORDS,
        policy_outcome=WORDS,
    )
)
def test_what_is_written_is_read_again(status: AgentStatus) -> None:
    assert parse(write(status)) == status


def test_words_from_anywhere_fit_into_a_header() -> None:
    wild = "\u00e4\r\nX: y" * 500
    text = write(AgentStatus(version=wild, boot=wild, problems=(wild,) * 50, policy=wild, policy_outcome=wild))
    assert text.isascii()
    assert text.isprintable()
    assert len(text) <= FIELD_MAX_CHARS
    read = parse(text)
    assert read is not None
    assert len(read.version) == WORD_MAX_CHARS


@pytest.mark.parametrize("text", ["(", "backlog=many", "version=1", 'version="a", version="b"', "backlog=1.5"])
def test_what_cannot_be_read_says_nothing(text: str) -> None:
    assert parse(text) is None


def test_members_of_later_versions_are_passed_over() -> None:
    assert parse('version="9", colour="red"') == AgentStatus(version="9")
    assert msgspec.json.decode(msgspec.json.encode(AgentStatus(version="9")), type=AgentStatus).version == "9"
