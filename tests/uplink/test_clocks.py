"""A clock that is wrong is noticed and told, and nothing is corrected by it."""

import asyncio
import json
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.uplink.platform import Clock, answers, fetch, held, line_to, receiver_at, shipping
from tests.uplink.site import MemoryOutbox
from uplink import clocks
from uplink.session import Answer, Failure

HOUR_MS = 3_600_000
JSON = "application/json; charset=utf-8"
DATE, DATE_MS = "Fri, 20 Nov 2026 12:00:00 GMT", int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("answer", "offset_ms"),
    [
        (Answer(status=200, content_type=JSON, date=DATE), 27 * HOUR_MS),
        (Answer(status=429, content_type="application/problem+json", date=DATE), 27 * HOUR_MS),
        (Answer(status=200, content_type="text/html", date=DATE), None),
        (Answer(status=407, date=DATE), None),
        (Answer(status=200, content_type=JSON, date="yesterday"), None),
        (Answer(status=200, content_type=JSON), None),
        (Failure(code="reset"), None),
    ],
)
def test_c12_only_the_platforms_own_answers_tell_its_time(answer: Answer | Failure, offset_ms: int | None) -> None:
    assert clocks.offset_ms(answer, DATE_MS + 27 * HOUR_MS) == offset_ms


def test_the_offset_in_words() -> None:
    assert clocks.in_words(27 * HOUR_MS + 185_000) == "this machine's clock is 27 h 3 min ahead of the platform's"
    assert clocks.in_words(-380_000) == "this machine's clock is 6 min behind the platform's"


async def test_c12_a_clock_that_is_put_right_ends_the_problem(tmp_path: Path) -> None:
    def wall_ms() -> int:
        return int(datetime.now(UTC).timestamp() * 1000)

    clock, outbox = Clock(wall_ms() - 26 * HOUR_MS), MemoryOutbox()
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url, clock) as shipper:
        await shipper.upload()
        assert [each.problem.code for each in shipper.problems()] == ["clock_wrong"]
        assert shipper.problems()[0].detail.startswith("this machine's clock is 26 h 0 min behind")
        clock.now_ms = wall_ms()
        await shipper.upload()
        assert shipper.problems() == []


async def test_a_portals_clock_is_nobodys_business(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line, shipping(outbox, line.url) as shipper:
        line.faults = [answers("502 Bad Gateway", b"<html>", "Content-Type: text/html", "Date: " + DATE)]
        await shipper.upload()
        assert [each.problem.code for each in shipper.problems()] == ["server_error"]


PROGRAM = """
import asyncio, json, sys
from tests.uplink.platform import shipping
from tests.uplink.site import MemoryOutbox
from uplink.uploader import wall_clock_ms

async def main():
    outbox = MemoryOutbox()
    outbox.record(3)
    async with shipping(outbox, sys.argv[1], wall_clock_ms, max_events=2) as shipper:
        report = await shipper.upload()
        standing = shipper.problems()
        print(json.dumps([report.acked, [each.problem.code for each in standing], standing[0].detail]))

asyncio.run(main())
"""


@pytest.mark.parametrize("shift", ["+27h", "-27h"])
async def test_c12_a_machine_that_is_27_hours_off_says_so_and_loses_nothing(tmp_path: Path, shift: str) -> None:
    """The whole machine's clock, as the process sees it: by libfaketime."""
    if shutil.which("faketime") is None:
        pytest.skip("needs faketime")
    async with receiver_at(tmp_path) as receiver:
        process = await asyncio.create_subprocess_exec(
            *("faketime", "-f", shift, sys.executable, "-c", PROGRAM, receiver.url),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        said, _ = await asyncio.wait_for(process.communicate(), 30)
        acked, codes, detail = json.loads(said)
        assert (acked, codes) == (3, ["clock_wrong"])
        assert detail.startswith(
            f"this machine's clock is {'27 h 0 min ahead' if shift[0] == '+' else '27 h 0 min behind'}"
        )
        events = [each["event"] for each in await held(receiver)]
        assert {event["time"] for event in events} == {"2026-11-20T10:00:00.000Z"}
        (epoch,) = (await fetch(receiver, "/v1/sites/site-1"))["epochs"]
        assert abs(abs(epoch["skew_ms"]) - 27 * HOUR_MS) < 60_000
