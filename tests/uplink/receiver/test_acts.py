"""What operators did is told, the last first, and stays bounded."""

from pathlib import Path

from tests.uplink.receiver.storages import Platform, running_platform
from uplink.receiver import acts
from uplink.receiver.acts import KEPT, Act
from uplink.receiver.storage.sqlite import SqliteStore


def act(number: int, site: str = "a") -> Act:
    return Act(site=site, at_ms=1_795_000_000_000 + number, who="ada", what="resend", detail=str(number))


async def test_the_last_act_of_a_site_stands_first(storage: str) -> None:
    async with running_platform(storage) as platform:
        await check(platform)


async def check(platform: Platform) -> None:
    for number in (2, 1, 3):
        await acts.note(platform.store, act(number))
        await acts.note(platform.store, act(number, "a-b"))
    assert await acts.of_site(platform.store, "a", 2) == [act(3), act(2)]
    assert [each.site for each in await acts.of_site(platform.store, "a", 9)] == ["a"] * 3
    assert await acts.of_site(platform.store, "b", 9) == []


async def test_of_each_site_so_many_are_kept(tmp_path: Path) -> None:
    store = await SqliteStore.open(str(tmp_path / "r.db"))
    await acts.note(store, act(1, "other"))
    for number in range(KEPT + 5):
        await acts.note(store, act(number))
    kept = await acts.of_site(store, "a", KEPT + 10)
    assert (len(kept), kept[0], kept[-1]) == (KEPT, act(KEPT + 4), act(5))
    assert await acts.of_site(store, "other", 9) == [act(1, "other")]
    await store.close()
