"""The shipper against the real receiver over loopback, on a line that fails in every way.

Each test ends with the same question: is every event at the receiver, exactly once?
"""

import asyncio
import gzip
import json
import re
import socket
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.uplink.platform import (
    TOKEN,
    Ask,
    Clock,
    Fault,
    answers,
    counted_ids,
    fetch,
    held,
    line_to,
    lost_answer,
    pass_on,
    raw,
    receiver_at,
    shipping,
)
from tests.uplink.site import MemoryOutbox, event_body
from uplink import backoff
from uplink.destinations import PegcountHttp, PegcountSettings
from uplink.outbox import Chunk
from uplink.shipper import Pace, Shipper
from uplink.status import parse
from uplink.upload import IN_FLIGHT_MAX
from uplink.uploader import UploadReport

HTML = b"<!DOCTYPE html><html><title>Welcome to the hotel</title>Please sign in"
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


def codes(shipper: Shipper) -> list[str]:
    """But for the clock, which these tests move."""
    return [each.problem.code for each in shipper.problems() if each.problem.code != "clock_wrong"]


def body_of(request: bytes) -> bytes:
    return request.partition(b"\r\n\r\n")[2]


def as_epoch_of(outbox: MemoryOutbox, seq: int) -> dict[str, object]:
    document: dict[str, object] = json.loads(outbox.bodies[seq - 1])
    return document


# --- the plain way


async def test_everything_there_is_sent_batch_by_batch(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(250)
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url, max_events=100) as shipper:
        report = await shipper.upload()
        assert (report.sent, report.acked, report.batches, report.problem) == (250, 250, 3, "")
        assert [(each.first, each.last, each.status) for each in outbox.uploads] == [
            (1, 100, "acknowledged"),
            (101, 200, "acknowledged"),
            (201, 250, "acknowledged"),
        ]
        assert await counted_ids(receiver) == outbox.ids()


async def test_silence_is_told_by_a_heartbeat(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url) as shipper:
        await shipper.upload()
        outbox.record(3)
        await shipper.upload()
        await shipper.upload()
        assert [(each.first, each.last, each.count) for each in outbox.uploads] == [(1, 0, 0), (1, 3, 3), (4, 3, 0)]
        (epoch,) = (await fetch(receiver, "/v1/sites/site-1"))["epochs"]
        assert epoch["acked_through"] == 3


async def test_a_trigger_during_an_upload_is_merged_and_sees_what_came_after_the_last_look(tmp_path: Path) -> None:
    class Late(MemoryOutbox):
        """Five more events, and a trigger, come just after the upload has looked for the last time."""

        async def read(self, epoch: str, after: int, max_events: int, max_bytes: int) -> Chunk:
            chunk = await super().read(epoch, after, max_events, max_bytes)
            if not chunk.bodies and len(self.made) == 5:
                self.record(5)
                triggered.append(asyncio.create_task(shipper.upload()))
                await asyncio.sleep(0)
            return chunk

    outbox, triggered = Late(), list[asyncio.Task[UploadReport]]()
    outbox.record(5)
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url) as shipper:
        report = await shipper.upload()
        assert await triggered[0] is report
        assert outbox.acked == 10
        assert await counted_ids(receiver) == outbox.ids()


async def test_the_platforms_answer_is_kept_as_it_came(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(2)
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url) as shipper:
        await shipper.upload()
    (answer,) = outbox.answers
    assert json.loads(answer)["acked_through"] == 2


async def test_each_request_of_a_backlog_tells_how_much_still_waits_and_from_when_the_newest_is(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(250)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        async with shipping(outbox, line.url, max_events=100) as shipper:
            await shipper.upload()
        told = [re.search(rb"Meter-Agent: (.*)\r\n", request) for request in line.requests]
        each_said = [parse(found[1].decode()) for found in told if found]
        assert [(said.backlog, said.newest_s) for said in each_said if said] == [
            (250, 1_763_632_801),
            (150, 1_763_632_801),
            (50, 1_763_632_801),
        ]


async def test_while_a_batch_is_on_its_way_the_next_one_is_read_and_its_head_says_when_it_was_sent(
    tmp_path: Path,
) -> None:
    outbox, clock = MemoryOutbox(), Clock()
    outbox.record(20)
    read: list[int] = []
    plain = outbox.read

    async def noted(epoch: str, after: int, max_events: int, max_bytes: int) -> Chunk:
        read.append(after)
        return await plain(epoch, after, max_events, max_bytes)

    outbox.read = noted  # type: ignore[method-assign]
    seen: list[list[int]] = []

    async def slowly(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
        await asyncio.sleep(0.05)
        seen.append(list(read))
        clock.now_ms += MINUTE_MS
        await pass_on(writer, request, ask)

    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        line.faults = [slowly, slowly]
        async with shipping(outbox, line.url, clock, max_events=10) as shipper:
            assert (await shipper.upload()).acked == 20
        heads = [int(re.findall(rb"head-time=(\d+)", request)[0]) for request in line.requests]
        assert await counted_ids(receiver) == outbox.ids()
    assert seen == [[0, 10], [0, 10, 20]]
    assert [second - heads[0] for second in heads] == [0, 60]


async def test_what_was_read_ahead_is_dropped_where_the_platform_wants_something_else(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(40)
    gap = b'{"code": "gap", "expected": 1}'
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        line.faults = [lost_answer()]
        async with shipping(outbox, line.url, max_events=10) as shipper:
            assert (await shipper.upload()).problem == "reset"
            line.faults = [pass_on, answers("409 Conflict", gap, "Content-Type: application/problem+json")]
            report = await shipper.upload()
        assert report.problem == ""
        assert await counted_ids(receiver) == outbox.ids()


async def test_bodies_are_bounded_in_bytes(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(20, padding="x" * 1000)
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url, max_bytes=5000) as shipper:
        report = await shipper.upload()
        assert report.batches == 7
        assert await counted_ids(receiver) == outbox.ids()


# --- the line fails


LINE_FAULTS: dict[str, tuple[Fault, str]] = {
    "captive portal": (answers("200 OK", HTML, "Content-Type: text/html"), "captive_portal"),
    "html without a type": (answers("200 OK", HTML), "captive_portal"),
    "200 and nothing": (answers("200 OK"), "answer_unusable"),
    "200 and garbage": (answers("200 OK", b"\x00\x01\x02"), "answer_unusable"),
    "200 of something else": (answers("200 OK", b'{"status":"ok"}'), "answer_unusable"),
    "200 that claims too much": (answers("200 OK", b'{"acked_through":99,"epoch":"epoch-1"}'), "answer_unusable"),
    "200 of another epoch": (answers("200 OK", b'{"acked_through":5,"epoch":"epoch-0"}'), "answer_unusable"),
    "200 cut in its body": (raw(b'HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n{"acked_through":5,'), "reset"),
    "200 that lies about its coding": (
        answers("200 OK", b"not gzip", "Content-Encoding: gzip"),
        "answer_unusable",
    ),
    "an endless answer": (answers("200 OK", b" " * 600_000), "answer_unusable"),
    "204": (answers("204 No Content"), "answer_unusable"),
    "a redirect": (answers("302 Found", b"", "Location: http://127.0.0.1:1/elsewhere"), "redirected"),
    "a permanent redirect": (answers("308 Permanent Redirect", b"", "Location: /login"), "redirected"),
    "401": (answers("401 Unauthorized"), "unauthorized"),
    "403": (answers("403 Forbidden", HTML), "forbidden"),
    "404": (answers("404 Not Found", HTML), "not_found"),
    "407": (answers("407 Proxy Authentication Required"), "proxy_auth"),
    "429": (answers("429 Too Many Requests", b"", "Retry-After: 7"), "throttled"),
    "500": (answers("500 Oh no", HTML), "server_error"),
    "502": (answers("502 Bad Gateway", HTML), "server_error"),
    "503": (answers("503 Service Unavailable", b"", "Retry-After: 30"), "unavailable"),
    "418": (answers("418 I'm a teapot"), "answer_unusable"),
    "no HTTP": (raw(b"220 mail.example.net ESMTP\r\n"), "transport"),
    "closed at once": (raw(b""), "reset"),
    "an answer that is lost": (lost_answer(0), "reset"),
    "an answer that is cut in its head": (lost_answer(30), "reset"),
    "an answer that is cut in its body": (lost_answer(190), "reset"),
}


@pytest.mark.parametrize("case", LINE_FAULTS)
async def test_after_any_failure_of_the_line_every_event_arrives_once(tmp_path: Path, case: str) -> None:
    fault, problem = LINE_FAULTS[case]
    outbox, clock = MemoryOutbox(), Clock()
    outbox.record(5)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        line.faults = [fault]
        async with shipping(outbox, line.url, clock) as shipper:
            report = await shipper.upload()
            assert (report.problem, report.acked, outbox.acked) == (problem, 0, 0)
            assert codes(shipper) == [problem]
            assert outbox.uploads[-1].status == problem
            outbox.record(5)
            clock.now_ms = await shipper.due_at_ms()
            report = await shipper.upload()
            assert (report.problem, report.acked, codes(shipper)) == ("", 10, [])
        assert body_of(line.requests[0]) == body_of(line.requests[1])
        assert outbox.acked == 10
        assert await counted_ids(receiver) == outbox.ids()


async def test_nothing_listens_there(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outbox = MemoryOutbox()
    outbox.record(5)
    async with shipping(outbox, f"http://127.0.0.1:{port}") as shipper:
        assert (await shipper.upload()).problem == "refused"
    async with receiver_at(tmp_path, port) as receiver, shipping(outbox, receiver.url) as shipper:
        await shipper.upload()
        assert await counted_ids(receiver) == outbox.ids()


async def test_b4_a_name_that_does_not_resolve_is_waited_for_and_all_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, resolve = False, socket.getaddrinfo

    def dns(host: str, *rest: Any, **options: Any) -> Any:
        if host == "meter.invalid" and not known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve("127.0.0.1" if host == "meter.invalid" else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", dns)
    outbox = MemoryOutbox()
    outbox.record(5)
    async with receiver_at(tmp_path) as receiver:
        url = receiver.url.replace("127.0.0.1", "meter.invalid")
        destination = PegcountHttp(PegcountSettings(url=url, token=TOKEN, allow_http=True, timeout_s=5), outbox.site)
        shipper = Shipper("platform", outbox, destination, Pace(), Clock())
        for _ in range(3):
            assert (await shipper.upload()).problem == "dns"
            outbox.record(5)
        assert outbox.acked == 0
        known = True
        assert (await shipper.upload()).problem == ""
        await destination.close()
        assert await counted_ids(receiver) == outbox.ids()


async def test_a_platform_that_never_answers_is_given_up_and_tried_again(tmp_path: Path) -> None:
    async def silence(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
        await asyncio.sleep(2)

    outbox = MemoryOutbox()
    outbox.record(5)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        line.faults = [silence]
        async with shipping(outbox, line.url, timeout_s=0.3) as shipper:
            assert (await shipper.upload()).problem == "timeout"
            assert (await shipper.upload()).problem == ""
        assert await counted_ids(receiver) == outbox.ids()


async def test_b3_a_day_of_401_403_404_keeps_everything_and_says_so(tmp_path: Path) -> None:
    outbox, clock = MemoryOutbox(), Clock()
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        began_ms, refusals = clock.now_ms, ["401 Unauthorized", "403 Forbidden", "404 Not Found"]
        async with shipping(outbox, line.url, clock) as shipper:
            while clock.now_ms < began_ms + DAY_MS:
                outbox.record(2)
                line.faults = [answers(refusals[len(outbox.made) // 2 % 3])]
                assert (await shipper.upload()).problem in ("unauthorized", "forbidden", "not_found")
                assert len(codes(shipper)) == 1
                clock.now_ms = max(await shipper.due_at_ms(), clock.now_ms + 15 * MINUTE_MS)
            await shipper.upload()
        assert len(outbox.made) > 150
        assert await counted_ids(receiver) == outbox.ids()


async def test_b2_b15_an_outage_of_three_days_loses_nothing(tmp_path: Path) -> None:
    outbox, clock = MemoryOutbox(), Clock()
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        began_ms, waits = clock.now_ms, []
        async with shipping(outbox, line.url, clock) as shipper:
            while clock.now_ms < began_ms + 3 * DAY_MS:
                outbox.record(1)
                line.faults = [answers("503 Service Unavailable")]
                await shipper.upload()
                due_ms = await shipper.due_at_ms()
                waits.append(due_ms - clock.now_ms)
                clock.now_ms = due_ms
            assert max(waits) <= 15 * MINUTE_MS
            assert shipper.problems()[0].since_ms == began_ms
            await shipper.upload()
        assert await counted_ids(receiver) == outbox.ids()


async def test_retry_after_is_kept_over_a_restart(tmp_path: Path) -> None:
    outbox, clock = MemoryOutbox(), Clock()
    outbox.record(5)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        line.faults = [answers("503 Service Unavailable", b"", "Retry-After: 1800")]
        async with shipping(outbox, line.url, clock) as shipper:
            await shipper.upload()
        async with shipping(outbox, line.url, clock) as restarted:
            assert clock.now_ms + 1_800_000 <= await restarted.due_at_ms() <= clock.now_ms + 1_980_000
            assert codes(restarted) == ["unavailable"]


async def test_b6_b8_a_crash_between_answer_and_commit_counts_nothing_twice(tmp_path: Path) -> None:
    class Crashing(MemoryOutbox):
        crashes = 1

        async def acknowledge(self, *given: Any) -> None:
            if self.crashes:
                self.crashes -= 1
                raise OSError("power cut")
            await super().acknowledge(*given)

    outbox = Crashing()
    outbox.record(5)
    async with receiver_at(tmp_path) as receiver:
        async with shipping(outbox, receiver.url) as shipper:
            with pytest.raises(OSError, match="power cut"):
                await shipper.upload()
        outbox.record(5)
        async with shipping(outbox, receiver.url) as restarted:
            report = await restarted.upload()
        assert (report.acked, outbox.acked) == (10, 10)
        assert await counted_ids(receiver) == outbox.ids()


async def test_c4_c11_a_duplicate_is_a_success(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(5)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        line.faults = [lost_answer()]
        async with shipping(outbox, line.url) as shipper:
            await shipper.upload()
            await shipper.upload()
        assert [each.status for each in outbox.uploads] == ["reset", "duplicate"]
        assert outbox.acked == 5


async def test_b9_after_a_restart_at_most_what_was_on_its_way_is_sent_again(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(1000)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        line.faults = [pass_on, pass_on, lost_answer()]
        async with shipping(outbox, line.url, max_events=100) as shipper:
            assert (await shipper.upload()).problem == "reset"
        async with shipping(outbox, line.url, max_events=100) as restarted:
            report = await restarted.upload()
        assert (report.batches, report.acked) == (8, 800)
        assert 1 <= [each.status for each in outbox.uploads].count("duplicate") <= IN_FLIGHT_MAX
        assert await counted_ids(receiver) == outbox.ids()


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_the_line_does_in_whatever_order_each_event_arrives_once(tmp_path: Path, seed: int) -> None:
    random, outbox, clock = Random(seed), MemoryOutbox(), Clock()
    faults = [fault for fault, _ in LINE_FAULTS.values()] + [lost_answer()] * 10 + [pass_on] * 20
    faults += [answers("413 Too Large"), answers("422 No"), answers("409 Conflict", b'{"code":"gap","expected":1}')] * 3
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        for _ in range(15):
            outbox.record(random.randrange(40))
            line.faults = random.choices(faults, k=random.randrange(6))
            async with shipping(outbox, line.url, clock, max_events=random.randint(1, 40)) as shipper:
                await shipper.upload()
                line.faults = random.choices(faults, k=random.randrange(3))
                await shipper.upload()
        line.faults = []
        async with shipping(outbox, line.url, clock) as shipper:
            assert (await shipper.upload()).problem == ""
        withheld = set(outbox.refused)
        assert await counted_ids(receiver) == [each for each in outbox.ids() if each not in withheld]
        assert outbox.acked == len(outbox.made)


# --- what the platform refuses


async def test_b11_b14_one_bad_event_among_a_thousand_is_quarantined_and_the_rest_arrive(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(600)
    outbox.record(1, type="electricity")
    outbox.record(399)
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url) as shipper:
        report = await shipper.upload()
        assert (report.acked, report.refused, report.batches, report.problem) == (1000, 1, 1, "")
        assert {key: refusal.code for key, refusal in outbox.refused.items()} == {"event-601": "unknown_type"}
        assert codes(shipper) == ["events_refused"]
        assert await counted_ids(receiver) == [each for each in outbox.ids() if each != "event-601"]


def refuses_whole(poison: str, status: str, body: bytes = b"") -> Fault:
    """A platform that refuses the whole request where `poison` is in it."""

    async def fault(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
        if f'"{poison}"'.encode() in gzip.decompress(body_of(request)):
            await answers(status, body)(writer, request, ask)
        else:
            await pass_on(writer, request, ask)

    return fault


@pytest.mark.parametrize("status", ["400 Bad Request", "415 Unsupported Media Type", "422 Unprocessable Content"])
async def test_b12_a_batch_refused_for_one_event_is_bisected(tmp_path: Path, status: str) -> None:
    outbox = MemoryOutbox()
    outbox.record(1000)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        line.faults = [refuses_whole("event-777", status)] * 60
        async with shipping(outbox, line.url) as shipper:
            report = await shipper.upload()
            assert (report.acked, report.refused, report.problem) == (1000, 1, "")
            assert report.batches < 30
        assert list(outbox.refused) == ["event-777"]
        assert await counted_ids(receiver) == [each for each in outbox.ids() if each != "event-777"]
        (epoch,) = (await fetch(receiver, "/v1/sites/site-1"))["epochs"]
        assert (epoch["acked_through"], epoch["rejected"]) == (1000, 1)


async def test_two_bad_events_are_both_found(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(100)

    async def either(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
        text = gzip.decompress(body_of(request))
        poisoned = b'"event-1"' in text or b'"event-100"' in text
        await (answers("422 No") if poisoned else pass_on)(writer, request, ask)

    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        line.faults = [either] * 60
        async with shipping(outbox, line.url) as shipper:
            await shipper.upload()
        assert sorted(outbox.refused) == ["event-1", "event-100"]
        assert await counted_ids(receiver) == outbox.ids()[1:-1]


@pytest.mark.parametrize("status", ["400 Bad Request", "413 Too Large", "415 No", "422 No"])
async def test_a_platform_that_refuses_everything_puts_nothing_in_quarantine(tmp_path: Path, status: str) -> None:
    outbox = MemoryOutbox()
    outbox.record(1000)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        line.faults = [answers(status, HTML)] * 30
        async with shipping(outbox, line.url) as shipper:
            report = await shipper.upload()
            assert (report.problem, report.acked, outbox.refused) == ("batch_refused", 0, {})
            assert report.batches <= 12
            line.faults = []
            await shipper.upload()
        assert await counted_ids(receiver) == outbox.ids()


@pytest.mark.parametrize("fault", ["413 Payload Too Large", "403 Forbidden"])
async def test_a_proxy_with_a_smaller_limit_gets_smaller_batches(tmp_path: Path, fault: str) -> None:
    outbox = MemoryOutbox()
    outbox.record(400)

    async def narrow(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
        too_large = len(body_of(request)) > 2500
        refusal = answers(fault, b'{"code":"too_large"}')
        await (refusal if too_large else pass_on)(writer, request, ask)

    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        line.faults = [narrow] * 60
        async with shipping(outbox, line.url) as shipper:
            report = await shipper.upload()
        assert (report.acked, report.refused, report.problem) == (400, 0, "")
        assert [each.status for each in outbox.uploads].count("refused") <= 4
        assert await counted_ids(receiver) == outbox.ids()


async def test_a6_an_event_that_is_too_large_is_quarantined_in_sight_and_blocks_nothing(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(5)
    outbox.record(1, padding="x" * 70_000)
    outbox.record(5)
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url) as shipper:
        report = await shipper.upload()
        assert (report.acked, report.refused, report.problem) == (11, 1, "")
        assert outbox.refused["event-6"].code == "too_large"
        assert "65536" in outbox.refused["event-6"].message
        assert codes(shipper) == ["events_refused"]
        assert len(await counted_ids(receiver)) == 10
        assert [each["seq"] for each in await held(receiver) if each["status"] == "rejected"] == [6]


async def test_a_ledger_that_is_damaged_sends_nothing_of_it(tmp_path: Path) -> None:
    class Damaged(MemoryOutbox):
        async def read(self, *given: Any) -> Chunk:
            chunk = await super().read(*given)
            chunk.bodies[0] = chunk.bodies[0].replace(b"0.1", b"9.1")
            return chunk

    outbox = Damaged()
    outbox.record(5)
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url) as shipper:
        assert (await shipper.upload()).problem == "ledger_damaged"
        assert (shipper.problems()[0].problem.severity, await held(receiver)) == ("critical", [])


# --- numbers that do not fit


async def test_a_platform_that_lost_data_gets_it_again(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(50)
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    async with receiver_at(tmp_path / "old") as receiver, shipping(outbox, receiver.url) as shipper:
        await shipper.upload()
    outbox.record(5)
    async with receiver_at(tmp_path / "new") as receiver, shipping(outbox, receiver.url, max_events=20) as shipper:
        report = await shipper.upload()
        assert (report.problem, report.acked) == ("", 5)
        assert await counted_ids(receiver) == outbox.ids()


async def test_a_platform_that_asks_for_what_is_pruned_is_told_that_it_is_lost_and_goes_on_behind_it(
    tmp_path: Path,
) -> None:
    outbox = MemoryOutbox()
    outbox.record(50)
    outbox.acked = outbox.pruned = 40
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url) as shipper:
        report = await shipper.upload()
        assert (report.problem, report.batches, report.acked) == ("", 3, 10)
        assert [each.status for each in outbox.uploads] == ["gap", "acknowledged", "acknowledged"]
        (problem,) = shipper.problems()
        assert (problem.problem.code, problem.problem.severity) == ("loss_stated", "critical")
        assert problem.detail == "events 1 to 40 of epoch epoch-1"
        assert await counted_ids(receiver) == outbox.ids()[40:]


async def test_a_platform_that_does_not_understand_a_loss_is_asked_again_later(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(50)
    outbox.acked = outbox.pruned = 40
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        line.faults = [pass_on, answers("400 Bad Request", b'{"code":"bad_head"}')]
        async with shipping(outbox, line.url) as shipper:
            report = await shipper.upload()
            assert (report.problem, report.batches, outbox.acked) == ("batch_refused", 2, 40)
            assert (await shipper.upload()).problem == ""
            assert (outbox.acked, outbox.epochs_begun) == (50, [])


async def test_a_platform_that_always_answers_gap_is_not_chased(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(50)
    outbox.acked = 40
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        line.faults = [answers("409 Conflict", b'{"code":"gap","expected":%d}' % at) for at in (30, 20, 10, 5, 3)]
        async with shipping(outbox, line.url) as shipper:
            report = await shipper.upload()
            assert (report.problem, report.batches) == ("no_progress", 4)


async def test_c14_a_clone_begins_a_new_epoch_and_all_of_both_arrives(tmp_path: Path) -> None:
    original, clock = MemoryOutbox(), Clock()
    original.record(10)
    async with receiver_at(tmp_path) as receiver:
        async with shipping(original, receiver.url, clock) as shipper:
            await shipper.upload()
        clone = MemoryOutbox()
        clone.made, clone.bodies, clone.acked = list(original.made), list(original.bodies), original.acked
        original.record(3, type="call")
        async with shipping(original, receiver.url, clock) as shipper:
            await shipper.upload()
        for number in range(4):
            clone.made.append({"id": f"clone-{number}"})
            clone.bodies.append(event_body("site-1", "epoch-1", 11 + number, id=f"clone-{number}"))
        async with shipping(clone, receiver.url, clock) as shipper:
            report = await shipper.upload()
            assert (report.problem, report.acked) == ("", 4)
            assert codes(shipper) == ["conflict"]
        assert clone.epochs_begun == ["conflict"]
        assert sorted(await counted_ids(receiver)) == sorted({*original.ids(), *clone.ids()})
        epochs = (await fetch(receiver, "/v1/sites/site-1"))["epochs"]
        assert [(each["epoch"], each["counted"]) for each in epochs] == [("epoch-1", 13), ("epoch-1.n", 4)]


async def test_c14_a_site_restored_from_a_snapshot_counts_nothing_twice(tmp_path: Path) -> None:
    """The snapshot has 5 of 10 events acknowledged. The same input is read again: same ids, recorded at another time."""
    outbox, clock = MemoryOutbox(), Clock()
    outbox.record(10)
    async with receiver_at(tmp_path) as receiver:
        async with shipping(outbox, receiver.url, clock) as shipper:
            await shipper.upload()
        restored = MemoryOutbox()
        restored.made, restored.bodies, restored.acked = outbox.made[:5], outbox.bodies[:5], 5
        restored.record(7, recordedtime="2026-11-21T00:00:00.000Z")
        async with shipping(restored, receiver.url, clock) as shipper:
            report = await shipper.upload()
            assert (report.acked, report.known, report.problem) == (7, 5, "")
        assert restored.epochs_begun == ["conflict"]
        assert sorted(await counted_ids(receiver)) == sorted(f"event-{number}" for number in range(1, 13))
        (total,) = (await fetch(receiver, "/v1/sites/site-1/totals"))["totals"]
        assert (total["events"], total["quantity"]) == (12, "1.2")


async def test_c14_an_idle_site_restored_from_a_snapshot_is_noticed_by_its_heartbeat(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(10)
    async with receiver_at(tmp_path) as receiver:
        async with shipping(outbox, receiver.url) as shipper:
            await shipper.upload()
        restored = MemoryOutbox()
        restored.made, restored.bodies, restored.acked = outbox.made[:5], outbox.bodies[:5], 5
        async with shipping(restored, receiver.url) as shipper:
            await shipper.upload()
        assert restored.epochs_begun == ["conflict"]


async def test_a_platform_that_calls_everything_a_conflict_gets_one_new_epoch_an_hour(tmp_path: Path) -> None:
    outbox, clock = MemoryOutbox(), Clock()
    outbox.record(5)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        async with shipping(outbox, line.url, clock) as shipper:
            for _ in range(5):
                line.faults = [answers("409 Conflict", b'{"code":"conflict"}')] * 3
                await shipper.upload()
                clock.now_ms += 10 * MINUTE_MS
            assert len(outbox.epochs_begun) == 1
            assert codes(shipper) == ["conflict"]
            line.faults = []
            await shipper.upload()
        assert await counted_ids(receiver) == outbox.ids()


# --- stopping


@pytest.mark.parametrize("phase", range(12))
async def test_b1_b7_a_stop_in_any_phase_loses_nothing_and_counts_nothing_twice(tmp_path: Path, phase: int) -> None:
    outbox = MemoryOutbox()
    outbox.record(300)
    async with receiver_at(tmp_path) as receiver:
        async with shipping(outbox, receiver.url, max_events=50) as shipper:
            upload = asyncio.create_task(shipper.upload())
            await asyncio.sleep(0.004 * phase)
            await shipper.stop()
            await asyncio.gather(upload, return_exceptions=True)
        assert len(await counted_ids(receiver)) >= outbox.acked
        async with shipping(outbox, receiver.url) as restarted:
            await restarted.upload()
        assert outbox.acked == 300
        assert await counted_ids(receiver) == outbox.ids()


async def test_b1_a_stop_while_the_platform_is_down_keeps_everything() -> None:
    outbox = MemoryOutbox()
    outbox.record(300)
    async with shipping(outbox, "http://127.0.0.1:9") as shipper:
        upload = asyncio.create_task(shipper.upload())
        await shipper.stop()
        await asyncio.gather(upload, return_exceptions=True)
    assert (outbox.acked, len(outbox.bodies)) == (0, 300)


async def test_b7_a_stop_does_not_wait_for_ever_for_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silence(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
        await asyncio.sleep(3)

    monkeypatch.setattr("uplink.uploader.STOP_GRACE_S", 0.1)
    outbox = MemoryOutbox()
    outbox.record(5)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        line.faults = [silence]
        async with shipping(outbox, line.url, timeout_s=60) as shipper:
            upload = asyncio.create_task(shipper.upload())
            await asyncio.sleep(0.1)
            async with asyncio.timeout(1):
                await shipper.stop()
            with pytest.raises(asyncio.CancelledError):
                await upload
    assert outbox.acked == 0


def test_a_stored_state_from_another_version_is_no_obstacle() -> None:
    assert backoff.load(b'{"failures":2,"of_a_later_version":true}').failures == 2
