"""What is JetStream's own: one message a batch, races of receivers, a log that is full, killed, or lost something."""

import asyncio
import contextlib
import signal

import pytest
from nats.js import api

from tests.uplink.receiver.jetstream import NatsServer
from tests.uplink.receiver.test_booking import incoming, sent
from tests.uplink.site import chain_of
from uplink.batch import Head, build
from uplink.receiver.placing import Append, Conflict, Duplicate, Gap
from uplink.receiver.storage import Incoming, StoreUnavailable, jetstream_log
from uplink.receiver.storage.jetstream import JetStreamStore
from uplink.receiver.storage.logged import EPOCHS_MAX, message_id, subject
from uplink.receiver.storage.nats_place import parse


async def test_one_message_is_one_batch_and_says_what_it_is(nats_server: NatsServer) -> None:
    store = await JetStreamStore.open(nats_server.url)
    batch = incoming("a.b_c", "original", 1, 3)
    await store.append(batch)
    message = await store.log.js.get_msg("PEGCOUNT", 1)
    assert message.subject == subject("a.b_c")
    # printf a.b_c | gzip -c | tail -c8 | od -An -tx1 -N1
    assert message.subject.split(".")[0::2] == ["m", "a%b_c"]
    assert message.data == batch.encoded
    assert message.headers is not None
    assert message.headers["Pegcount-Site"] == "a.b_c"
    assert message.headers["Meter-Batch"].startswith('epoch="e-1", first=1, last=3, count=3, prev=:AAAA')
    chain = chain_of(sent("a.b_c", "original")[1][:3]).hex()
    assert message.headers["Nats-Msg-Id"] == message_id(batch) == f"a.b_c:e-1:1:{chain}"
    config = (await store.log.js.stream_info("PEGCOUNT")).config
    assert (config.storage, config.discard, config.max_age) == ("file", "new", 0)
    await store.close()


async def test_two_receivers_that_get_the_same_batch_log_it_once(nats_server: NatsServer) -> None:
    stores = [await JetStreamStore.open(nats_server.url) for _ in range(2)]
    batch = incoming("site-1", "original", 1, 9)
    placements = [each.placement for each in await asyncio.gather(*(stores[n % 2].append(batch) for n in range(10)))]
    assert placements.count(Append()) == 1
    assert placements.count(Duplicate()) == 9
    assert (await stores[0].log.js.stream_info("PEGCOUNT")).state.messages == 1
    for store in stores:
        await store.close()


async def test_receivers_that_take_turns_do_not_trip_over_what_they_remember(nats_server: NatsServer) -> None:
    stores = [await JetStreamStore.open(nats_server.url) for _ in range(2)]
    for seq in range(1, 10):
        appended = await stores[seq % 2].append(incoming("site-1", "original", seq, 1))
        assert (appended.placement, appended.acked_through) == (Append(), seq)
    assert (await stores[0].append(incoming("site-1", "twin", 5, 2))).placement == Conflict(
        "events 5 to 6 are other ones"
    )
    for store in stores:
        await store.close()


async def test_any_cut_of_the_past_is_found_in_the_log_and_held_against_it(nats_server: NatsServer) -> None:
    store = await JetStreamStore.open(nats_server.url)
    for seq in range(1, 10):
        for site in ("site-1", "site-2", "site-3"):
            await store.append(incoming(site, "original", seq, 1))
        await store.append(incoming("site-2", "reissued", seq, 1))
    for first in range(1, 10):
        for length in range(1, 10 - first):
            placement = (await store.append(incoming("site-2", "original", first, length))).placement
            assert placement == Duplicate()
            twin = (await store.append(incoming("site-2", "twin", first, length))).placement
            assert isinstance(twin, Conflict) == (first + length - 1 > 4)
    await store.close()


async def test_c1_a_duplicate_is_not_answered_from_memory(nats_server: NatsServer) -> None:
    store = await JetStreamStore.open(nats_server.url)
    await store.append(incoming("site-1", "original", 1, 3))
    await store.append(incoming("site-1", "original", 4, 3))
    await store.log.js.delete_msg("PEGCOUNT", 2)
    assert (await store.append(incoming("site-1", "original", 7, 3))).placement == Gap(4)
    assert (await store.append(incoming("site-1", "original", 4, 3))).placement == Append()
    await store.close()


async def test_d2_a_full_log_refuses_and_keeps_what_it_acknowledged(nats_server: NatsServer) -> None:
    store = await JetStreamStore.open(f"{nats_server.url}?max_bytes=3000")
    taken = 0
    with contextlib.suppress(StoreUnavailable):
        for seq in range(1, 10):
            await store.append(incoming("site-1", "original", seq, 1))
            taken = seq
    assert 0 < taken < 9
    (state,) = await store.epochs("site-1")
    assert (state.acked_through, (await store.log.js.stream_info("PEGCOUNT")).state.messages) == (taken, taken)
    config = (await store.log.js.stream_info("PEGCOUNT")).config
    await store.log.js.update_stream(config.evolve(max_bytes=100_000))
    assert (await store.append(incoming("site-1", "original", taken + 1, 1))).acked_through == taken + 1
    await store.close()


async def test_d3_what_is_a_duplicate_does_not_depend_on_a_window(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jetstream_log, "WINDOW_S", 0.1)
    batch = incoming("site-1", "original", 1, 3)
    for _ in range(2):
        store = await JetStreamStore.open(nats_server.url)
        placement = (await store.append(batch)).placement
        await asyncio.sleep(0.3)
        await store.close()
    assert placement == Duplicate()


async def test_d1_a_server_that_is_killed_has_what_it_acknowledged_and_is_found_again(nats_server: NatsServer) -> None:
    store = await JetStreamStore.open(nats_server.url)
    await store.append(incoming("site-1", "original", 1, 4))
    await asyncio.to_thread(nats_server.stop, signal.SIGKILL)
    await asyncio.to_thread(nats_server.start)
    async with asyncio.timeout(10):
        while True:
            try:
                appended = await store.append(incoming("site-1", "original", 5, 5))
                break
            except StoreUnavailable:
                await asyncio.sleep(0.1)
    assert appended.acked_through == 9
    await store.close()


async def test_a_server_that_is_away_is_told_within_the_agents_patience(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jetstream_log, "ANSWER_S", 0.2)
    monkeypatch.setattr("uplink.receiver.storage.nats_place.CONNECT_S", 0.5)
    store = await JetStreamStore.open(nats_server.url)
    await asyncio.to_thread(nats_server.stop, signal.SIGTERM)
    with pytest.raises(StoreUnavailable):
        await store.append(incoming("site-1", "original", 1, 4))
    await store.close()
    with pytest.raises(StoreUnavailable):
        await JetStreamStore.open(nats_server.url)
    await asyncio.to_thread(nats_server.start)


async def test_a_stream_that_was_deleted_is_no_empty_one(nats_server: NatsServer) -> None:
    """A gap would be told to a site that is not remembered, and it would look for numbers that nobody lacks."""
    store = await JetStreamStore.open(nats_server.url)
    await store.append(incoming("site-1", "original", 1, 3))
    await store.check()
    await store.log.js.delete_stream("PEGCOUNT")
    for site in ("site-1", "site-2"):
        with pytest.raises(StoreUnavailable):
            await store.append(incoming(site, "original", 4, 3))
    with pytest.raises(StoreUnavailable, match="the stream is gone"):
        await store.check()
    await store.close()


async def test_health_is_asked_of_the_stream_and_of_the_bucket(nats_server: NatsServer) -> None:
    store = await JetStreamStore.open(nats_server.url)
    stream = (await store.log.js.stream_info("PEGCOUNT")).config
    await store.log.js.update_stream(stream.evolve(discard=api.DiscardPolicy.OLD))
    with pytest.raises(StoreUnavailable, match="discards the old"):
        await store.check()
    await store.log.js.update_stream(stream)
    await store.check()
    await store.log.js.delete_stream("KV_PEGCOUNT_documents")
    with pytest.raises(StoreUnavailable, match="is gone"):
        await store.check()
    await store.close()


@pytest.mark.parametrize("config", [{"storage": api.StorageType.MEMORY}, {"ttl": 60}], ids=str)
async def test_a_bucket_that_would_forget_keys_is_not_used(nats_server: NatsServer, config: dict[str, object]) -> None:
    store = await JetStreamStore.open(nats_server.url)
    await store.log.js.delete_key_value("PEGCOUNT_documents")
    await store.log.js.create_key_value(api.KeyValueConfig(bucket="PEGCOUNT_documents", **config))  # type: ignore[arg-type]
    await store.close()
    with pytest.raises(StoreUnavailable, match="the bucket PEGCOUNT_documents"):
        await JetStreamStore.open(nats_server.url)


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"discard": api.DiscardPolicy.OLD}, "discards the old"),
        ({"discard": api.DiscardPolicy.NEW, "max_age": 3600}, "forgets by age"),
        ({"discard": api.DiscardPolicy.NEW, "storage": api.StorageType.MEMORY}, "in memory"),
        ({"discard": api.DiscardPolicy.NEW, "max_msgs_per_subject": 5}, "forgets by number"),
        ({"discard": api.DiscardPolicy.NEW, "retention": api.RetentionPolicy.WORK_QUEUE}, "what was consumed"),
        ({"discard": api.DiscardPolicy.NEW, "max_msg_size": 100_000}, "refuses large batches"),
        ({"discard": api.DiscardPolicy.NEW, "no_ack": True}, "acknowledges nothing"),
    ],
    ids=str,
)
async def test_d2_a_stream_that_would_forget_is_not_used(
    nats_server: NatsServer, config: dict[str, object], fault: str
) -> None:
    store = await JetStreamStore.open(nats_server.url.replace("PEGCOUNT", "OTHER"))
    await store.log.js.delete_stream("OTHER")
    await store.log.js.add_stream(api.StreamConfig(name="PEGCOUNT", subjects=["m.*.*"], **config))  # type: ignore[arg-type]
    await store.close()
    with pytest.raises(StoreUnavailable, match=fault):
        await JetStreamStore.open(nats_server.url)


async def test_a_server_that_could_not_take_every_batch_is_not_used() -> None:
    with (
        NatsServer("max_payload: 500000\n") as server,
        pytest.raises(StoreUnavailable, match="max_payload must be 1MB"),
    ):
        await JetStreamStore.open(server.url)


async def test_a_site_of_a_hundred_epochs_fits_into_a_header(nats_server: NatsServer) -> None:
    store = await JetStreamStore.open(nats_server.url)
    for number in range(EPOCHS_MAX + 5):
        name = f"{number:064d}"
        head = Head(epoch=name, first=1, last=0, count=0, prev=bytes(32), chain=bytes(32), head_time_s=1_795_000_000)
        beat = Incoming(site="s" * 64, head=head, events=[], now_ms=1_795_000_000_000, encoded=build(head, []).body)
        assert (await store.append(beat)).placement == Append()
    states = await store.epochs("s" * 64)
    assert [int(state.epoch) for state in states] == list(range(5, EPOCHS_MAX + 5))
    await store.close()


def test_a_place_is_read_from_its_url_and_shown_without_passwords() -> None:
    place = parse("nats://meter:geheim@a.example.net,b.example.net:4333/LOG?replicas=3&max_bytes=5000&creds=/k")
    assert place.servers == ["nats://meter:geheim@a.example.net", "nats://meter:geheim@b.example.net:4333"]
    assert (place.stream, place.replicas, place.max_bytes, place.login.creds_file) == ("LOG", 3, 5000, "/k")
    assert place.shown == "nats://a.example.net,b.example.net:4333/LOG"
    for wrong in ("nats:///LOG", "nats://geheim@h/a.b", "nats://geheim@h/?replica=3", "nats://geheim@h/?replicas=x"):
        with pytest.raises(StoreUnavailable) as caught:
            parse(wrong)
        assert "geheim" not in str(caught.value)
