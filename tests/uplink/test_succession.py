"""A key of the platform that follows another one: known by that one's word, and by nothing else."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uplink.enrolment import PlatformKey, encoded
from uplink.keys import PrivateKey
from uplink.succession import introduce, introduced, succession_text

FIRST, *REST = [PrivateKey.make() for _ in range(5)]
STRANGER = PrivateKey.make()
KNOWN = {FIRST.id: FIRST.public}


def chain() -> list[PlatformKey]:
    """Each of the five introduced by the one before; the first by nobody."""
    pairs = zip([FIRST, *REST], REST, strict=False)
    return [
        PlatformKey(key=FIRST.id, public=encoded(FIRST.public)),
        *(introduce(old, new.public) for old, new in pairs),
    ]


def test_the_signed_text_is_as_the_reference_says() -> None:
    assert succession_text("old", bytes(32)) == (
        b"pegcount-platform-key-1\nold\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    )


@given(st.permutations(chain()))
def test_who_was_away_for_long_learns_all_that_came_in_whatever_order_they_are_told(told: list[PlatformKey]) -> None:
    assert [each.key for each in introduced(KNOWN, told)] == [key.id for key in REST]
    assert [each.key for each in introduced({REST[1].id: REST[1].public}, told)] == [key.id for key in REST[2:]]


def test_what_is_known_is_not_told_again() -> None:
    assert introduced({key.id: key.public for key in (FIRST, *REST)}, chain()) == []
    assert [each.key for each in introduced(KNOWN, chain() + chain())] == [key.id for key in REST]


GOOD = introduce(FIRST, REST[0].public)


@pytest.mark.parametrize(
    "told",
    [
        PlatformKey(key=STRANGER.id, public=encoded(STRANGER.public)),
        introduce(STRANGER, REST[0].public),
        msgspec.structs.replace(introduce(STRANGER, REST[0].public), by=FIRST.id),
        msgspec.structs.replace(GOOD, public=encoded(STRANGER.public)),
        msgspec.structs.replace(GOOD, public=encoded(STRANGER.public), key=STRANGER.id),
        msgspec.structs.replace(GOOD, key=STRANGER.id),
        msgspec.structs.replace(GOOD, sig="AAAA"),
        msgspec.structs.replace(GOOD, sig="%"),
        msgspec.structs.replace(GOOD, public="AAAA"),
        msgspec.structs.replace(introduce(STRANGER, STRANGER.public), by=STRANGER.id),
    ],
    ids=[
        "nobody",
        "unknown",
        "forged",
        "other key",
        "other id and key",
        "other id",
        "short",
        "no base64",
        "no key",
        "itself",
    ],
)
def test_nobody_else_can_introduce_a_key(told: PlatformKey) -> None:
    assert introduced(KNOWN, [told]) == []
