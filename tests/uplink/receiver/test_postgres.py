"""What is PostgreSQL's own: durability, locks, races of receivers, a server that goes away, and whose database it is."""

import asyncio
import signal

import asyncpg
import pytest

from tests.uplink.platform import counted_ids
from tests.uplink.receiver.batches import TEN, batch_of, events, post
from tests.uplink.receiver.postgres import Cluster
from tests.uplink.receiver.storages import Place, running_platform
from tests.uplink.receiver.test_booking import incoming
from uplink.receiver.placing import Append, Duplicate
from uplink.receiver.storage import Appended, StoreUnavailable, Total, TotalsQuery
from uplink.receiver.storage.pg_schema import STEPS
from uplink.receiver.storage.postgres import PostgresStore, shown


async def test_a10_commits_are_on_the_disk_before_the_answer_whatever_the_server_thinks(postgres_url: str) -> None:
    direct = await asyncpg.connect(postgres_url)
    await direct.execute(f"ALTER DATABASE {postgres_url.rpartition('/')[2]} SET synchronous_commit = off")
    await direct.close()
    store = await PostgresStore.open(postgres_url)
    assert await store._pool.fetchval("SHOW synchronous_commit") == "on"
    await store.close()


async def test_receivers_that_start_together_make_the_tables_once(postgres_url: str) -> None:
    stores = await asyncio.gather(*(PostgresStore.open(postgres_url) for _ in range(4)))
    assert await stores[0]._pool.fetchval("SELECT count(*) FROM migration") == len(STEPS)
    for store in stores:
        await store.close()


async def test_a_database_of_a_later_version_is_left_alone(postgres_url: str) -> None:
    store = await PostgresStore.open(postgres_url)
    await store._pool.execute("INSERT INTO migration (step) VALUES (99)")
    await store.close()
    with pytest.raises(StoreUnavailable, match="later version"):
        await PostgresStore.open(postgres_url)


async def test_a_database_that_cannot_hold_every_text_is_told(cluster: Cluster) -> None:
    cluster.ask("postgres", "CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
    with pytest.raises(StoreUnavailable, match="SQL_ASCII"):
        await PostgresStore.open(f"postgresql://postgres@127.0.0.1:{cluster.port}/ascii")


async def test_nobody_is_told_a_password() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await PostgresStore.open("postgresql://meter:geheim@127.0.0.1:1/db")
    assert "geheim" not in str(caught.value)
    assert shown("postgresql://meter:geheim@db.example.net:5433/db?passfile=x") == "postgresql://db.example.net:5433/db"


async def test_two_receivers_that_get_the_same_batch_store_it_once(postgres_url: str) -> None:
    stores = [await PostgresStore.open(postgres_url) for _ in range(2)]
    batch = incoming("site-1", "original", 1, 9)
    placements = [each.placement for each in await asyncio.gather(*(stores[n % 2].append(batch) for n in range(10)))]
    assert placements.count(Append()) == 1
    assert placements.count(Duplicate()) == 9
    assert len(await stores[0].events("site-1", 0, 99)) == 9
    for store in stores:
        await store.close()


# Asked by a connection of its own: within a transaction the view stands still (PostgreSQL 15 manual, section 28.2.2).
_END_WAITERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


async def test_c1_a_site_that_somebody_else_holds_is_answered_later_and_others_are_not_held_up(
    postgres_url: str,
) -> None:
    async with running_platform(Place(postgres_url)) as platform:
        await post(platform, batch_of(TEN, 1, 2))
        holder, watcher = [await asyncpg.connect(postgres_url) for _ in range(2)]
        async with holder.transaction(), asyncio.timeout(30):
            await holder.execute("SELECT * FROM pegcount.site WHERE name = 'site-1' FOR UPDATE")
            held_up = asyncio.create_task(post(platform, batch_of(TEN, 3, 10)))
            other = batch_of(events("e-1", 1, 4, site="site-2"), 1, 4)
            assert (await post(platform, other, site="site-2"))[0] == 200
            while not await watcher.fetchval(_END_WAITERS):
                await asyncio.sleep(0.02)
            status, document = await held_up
            assert (status, document["code"]) == (503, "store_unavailable")
        for connection in (holder, watcher):
            await connection.close()
        assert (await post(platform, batch_of(TEN, 3, 10)))[1]["duplicate"] is False
        assert len(await counted_ids(platform)) == 10


async def test_c7_a_batch_that_fails_in_its_midst_leaves_nothing(postgres_url: str) -> None:
    store = await PostgresStore.open(postgres_url)
    await store._pool.execute("ALTER TABLE event ADD CHECK (seq <> 7)")
    await store.append(incoming("site-1", "original", 1, 3))
    with pytest.raises(StoreUnavailable):
        await store.append(incoming("site-1", "original", 4, 6))
    (state,) = await store.epochs("site-1")
    assert (state.acked_through, state.counted, len(await store.events("site-1", 0, 99))) == (3, 3, 3)
    await store.close()


async def test_a_batch_that_fails_takes_no_other_with_it(postgres_url: str) -> None:
    store = await PostgresStore.open(postgres_url)
    await store._pool.execute("ALTER TABLE site ADD CHECK (name <> 'site-3')")
    sites = [f"site-{number}" for number in range(1, 13)]
    sent = [store.append(incoming(site, "original", 1, 3)) for site in sites]
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    failed = [site for site, outcome in zip(sites, outcomes, strict=True) if isinstance(outcome, StoreUnavailable)]
    assert failed == ["site-3"]
    for site in sites:
        assert len(await store.events(site, 0, 9)) == (0 if site in failed else 3)
    await store.close()


async def test_batches_of_several_sites_share_a_transaction(postgres_url: str) -> None:
    store = await PostgresStore.open(postgres_url)
    await asyncio.gather(*(store.append(incoming(f"site-{number}", "original", 1, 4)) for number in range(20)))
    transactions = await store._pool.fetchval("SELECT count(DISTINCT xmin::text) FROM event")
    assert transactions < 20
    assert [each.events for each in await store.totals(TotalsQuery())] == [80]
    await store.close()


async def test_receivers_that_get_the_same_batches_of_many_sites_store_each_once(postgres_url: str) -> None:
    """As when a balancer repeats requests: groups of both meet at the same sites, new ones too."""
    stores = [await PostgresStore.open(postgres_url) for _ in range(2)]
    sites = [f"site-{number:02}" for number in range(30)]

    async def send(store: PostgresStore, order: list[str]) -> list[Appended]:
        sent: list[Appended] = []
        for first in (1, 4, 7):
            sent += await asyncio.gather(*(store.append(incoming(site, "original", first, 3)) for site in order))
        return sent

    sent = await asyncio.gather(send(stores[0], sites), send(stores[1], sites[::-1]), send(stores[1], sites))
    assert [each.placement for part in sent for each in part].count(Append()) == 90
    assert await stores[0].totals(TotalsQuery()) == [
        Total(meter="voice.minutes", unit="minute", quantity="91.200000000030", events=240)
    ]
    for store in stores:
        await store.close()


async def test_a_transaction_that_the_server_ends_for_anothers_sake_is_tried_again(postgres_url: str) -> None:
    store = await PostgresStore.open(postgres_url)
    await store._pool.execute(
        "CREATE SEQUENCE tries; CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF nextval('tries') < 3 THEN RAISE SQLSTATE '40P01'; END IF; RETURN NEW; END $$;"
        " CREATE TRIGGER fail BEFORE INSERT ON batch FOR EACH ROW EXECUTE FUNCTION fail()"
    )
    assert (await store.append(incoming("site-1", "original", 1, 3))).counted == 3
    await store.close()


async def test_a_server_that_crashes_loses_nothing_it_acknowledged_and_is_found_again(
    cluster: Cluster, postgres_url: str
) -> None:
    async with running_platform(Place(postgres_url)) as platform:
        assert (await post(platform, batch_of(TEN, 1, 4)))[0] == 200
        await asyncio.to_thread(cluster.stop, signal.SIGQUIT)
        assert (await post(platform, batch_of(TEN, 5, 10)))[1]["code"] == "store_unavailable"
        await asyncio.to_thread(cluster.start)
        status, document = await post(platform, batch_of(TEN, 5, 10))
        assert (status, document["acked_through"]) == (200, 10)
        assert len(await counted_ids(platform)) == 10
