"""Passwords, attempts and sessions."""

import msgspec
import pytest

from tests.uplink.platform import Clock
from tests.uplink.receiver.fleet.fleets import PASSWORD, hire
from uplink.receiver.fleet import operators, sessions
from uplink.receiver.fleet.attempts import TABLE_MAX, WINDOW_MS, Attempts
from uplink.receiver.fleet.operators import hashed, is_password
from uplink.receiver.fleet.sessions import LASTS_MS, Sessions
from uplink.receiver.storage import Documents
from uplink.receiver.storage.sqlite import SqliteStore


def test_a_password_is_known_by_its_scrypt_alone() -> None:
    kept = hashed(PASSWORD)
    assert is_password(kept, PASSWORD)
    assert not is_password(kept, PASSWORD + " ")
    assert not is_password(kept, "x" * 10_000)
    assert not is_password(None, PASSWORD)
    assert PASSWORD.encode() not in msgspec.json.encode(kept)
    assert hashed(PASSWORD).digest != kept.digest


def test_the_digest_is_the_one_of_rfc_7914() -> None:
    """RFC 7914, 12: "pleaseletmein", "SodiumChloride", N=16384, r=8, p=1; the first half of it."""
    kept = operators.Password(
        salt=b"SodiumChloride",
        digest=bytes.fromhex("7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"),
        cost=16384,
        block=8,
        lanes=1,
    )
    assert is_password(kept, "pleaseletmein")


@pytest.mark.parametrize("password", ["", "elevenchars", "x" * 257])
def test_a_password_that_is_too_short_or_too_long_is_none(password: str) -> None:
    with pytest.raises(ValueError, match="12 to 256"):
        hashed(password)


@pytest.mark.parametrize("name", ["", "Ada", "a b", "-a", "a" * 33, "ä", "a\n"])
def test_an_operators_name_is_plain(name: str) -> None:
    with pytest.raises(ValueError, match="small letters"):
        operators.check_name(name)


def test_attempts_run_out_and_come_back() -> None:
    attempts = Attempts(2)
    for _ in range(2):
        assert attempts.wait_ms("a", 1000) == 0
        attempts.begin("a", 1000)
    assert attempts.wait_ms("a", 2000) == WINDOW_MS - 1000
    assert attempts.wait_ms("b", 2000) == 0
    assert attempts.wait_ms("a", 1000 + WINDOW_MS) == 0
    attempts.begin("a", 1000 + WINDOW_MS)
    attempts.succeed("a")
    attempts.begin("a", 1000 + WINDOW_MS)
    assert attempts.wait_ms("a", 1000 + WINDOW_MS) == 0


def test_the_table_of_attempts_is_bounded() -> None:
    attempts = Attempts(1)
    for number in range(TABLE_MAX + 5):
        attempts.begin(str(number), 0)
    assert (attempts.wait_ms("0", 1), attempts.wait_ms(str(TABLE_MAX), 1)) == (0, WINDOW_MS - 1)


@pytest.fixture
async def store(tmp_path):  # type: ignore[no-untyped-def]
    opened = await SqliteStore.open(str(tmp_path / "r.db"))
    yield opened
    await opened.close()


async def begun(store: Documents, clock: Clock) -> tuple[Sessions, str]:
    await hire(store)
    kept, found = Sessions(store, clock), await operators.find(store, "ada")
    assert found is not None
    return kept, await kept.begin(*found)


async def test_a_session_is_its_operators_until_it_ends(store: SqliteStore) -> None:
    clock = Clock()
    kept, session = await begun(store, clock)
    visitor = await kept.visitor(session)
    assert visitor is not None
    assert (visitor.operator.name, visitor.operator.role) == ("ada", "admin")
    assert await kept.visitor("") is None
    assert await kept.visitor("x" * 1000) is None
    assert [session not in each.key + each.body.decode() for each in await store.listed(sessions.KIND)] == [True]
    clock.now_ms += LASTS_MS
    assert await kept.visitor(session) is None


async def test_ended_sessions_are_swept_by_the_next_login(store: SqliteStore) -> None:
    clock = Clock()
    kept, _ = await begun(store, clock)
    clock.now_ms += LASTS_MS
    found = await operators.find(store, "ada")
    assert found is not None
    await kept.begin(*found)
    assert len(await store.listed(sessions.KIND)) == 1


async def test_a_change_of_the_operator_ends_his_sessions(store: SqliteStore) -> None:
    kept, session = await begun(store, Clock())
    found = await operators.find(store, "ada")
    assert found is not None
    assert await operators.save(store, found[0], found[1])
    assert await kept.visitor(session) is None


async def test_a_removed_operator_has_no_session_even_when_the_name_comes_back(store: SqliteStore) -> None:
    kept, session = await begun(store, Clock())
    await store.delete(operators.KIND, "ada")
    assert await kept.visitor(session) is None
    await hire(store)
    assert await kept.visitor(session) is None
