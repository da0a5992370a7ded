"""What every storage's documents must do: one set of checks for all of them."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from uplink.receiver.storage import ANY, Documents


async def check_kept_by_kind_and_key(store: Documents) -> None:
    assert await store.get("agent", "a") is None
    first = await store.put("agent", "a", b"one")
    assert first is not None
    assert await store.put("policy", "a", b"other") is not None
    found = await store.get("agent", "a")
    assert found is not None
    assert (found.key, found.body, found.revision) == ("a", b"one", first)
    with pytest.raises(ValueError, match="empty"):
        await store.put("agent", "a", b"")


async def check_changed_by_one_at_a_time(store: Documents) -> None:
    first = await store.put("agent", "a", b"one", 0)
    assert first is not None
    assert await store.put("agent", "a", b"two", 0) is None
    second = await store.put("agent", "a", b"two", first)
    assert second is not None
    assert second > first
    assert await store.put("agent", "a", b"three", first) is None
    assert await store.put("agent", "a", b"four", ANY) is not None
    found = await store.get("agent", "a")
    assert found is not None
    assert found.body == b"four"


async def check_a_revision_never_comes_back(store: Documents) -> None:
    first = await store.put("agent", "a", b"one", 0)
    assert first is not None
    assert await store.delete("agent", "a", first + 7) is False
    assert await store.delete("agent", "a", first) is True
    assert await store.delete("agent", "a") is False
    assert await store.get("agent", "a") is None
    assert await store.put("agent", "a", b"stale", first) is None
    again = await store.put("agent", "a", b"new", 0)
    assert again is not None
    assert again > first


async def check_listed_in_order_and_by_page(store: Documents) -> None:
    for key in ("b", "d", "a", "c"):
        await store.put("agent", key, key.encode())
    await store.delete("agent", "c")
    assert [each.key for each in await store.listed("agent")] == ["a", "b", "d"]
    assert [each.key for each in await store.listed("agent", "a", 1)] == ["b"]
    assert await store.listed("agent", "d") == []


async def check_any_text_is_a_key(store: Documents) -> None:
    keys = sorted(["018f.2f6c", "a/b c", "*", ">", "=2E", "$KV", "Zürich ☎", "x" * 200])
    for key in keys:
        assert await store.put("kind.of/its own", key, key.encode()) is not None
    await store.put("kind", "of/its own.*", b"another")
    assert [(each.key, each.body.decode()) for each in await store.listed("kind.of/its own")] == [
        (key, key) for key in keys
    ]
    assert await store.delete("kind.of/its own", "*") is True
    assert len(await store.listed("kind.of/its own")) == len(keys) - 1


async def check_a_long_list_is_whole_every_time(store: Documents) -> None:
    """Also just after its last document was put, and page by page, with deleted ones between."""
    keys = [f"{n:04d}" for n in range(450)]
    await asyncio.gather(*(store.put("seen", key, key.encode()) for key in keys))
    await asyncio.gather(*(store.delete("seen", key) for key in keys[::9]))
    kept = [key for n, key in enumerate(keys) if n % 9]
    for _ in range(5):
        assert [each.key for each in await store.listed("seen")] == kept
    paged: list[str] = []
    while page := await store.listed("seen", paged[-1] if paged else "", 70):
        assert len(page) == min(70, len(kept) - len(paged))
        paged += [each.key for each in page]
    assert paged == kept


async def check_many_are_put_at_once_over_whatever_stands_there(store: Documents) -> None:
    first = await store.put("seen", "a", b"old")
    gone = await store.put("seen", "b", b"old")
    assert first is not None
    assert gone is not None
    await store.delete("seen", "b")
    await store.put_all("seen", {"b": b"2", "a": b"1", **{f"n{n}": b"x" for n in range(450)}})
    await store.put_all("seen", {})
    found = {key: await store.get("seen", key) for key in ("a", "b")}
    assert [each.body if each else None for each in found.values()] == [b"1", b"2"]
    assert [each.revision > before for each, before in zip(found.values(), (first, gone), strict=True) if each] == [
        True
    ] * 2
    assert len(await store.listed("seen")) == 452
    with pytest.raises(ValueError, match="empty"):
        await store.put_all("seen", {"c": b""})


CHECKS: list[Callable[[Documents], Awaitable[None]]] = [
    check_kept_by_kind_and_key,
    check_changed_by_one_at_a_time,
    check_a_revision_never_comes_back,
    check_listed_in_order_and_by_page,
    check_a_long_list_is_whole_every_time,
    check_any_text_is_a_key,
    check_many_are_put_at_once_over_whatever_stands_there,
]
