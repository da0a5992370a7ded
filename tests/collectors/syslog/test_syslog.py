"""SIP that devices log becomes the calls that it was; what the log lost becomes no call."""

import asyncio
import socket
import time
import tomllib
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import collectors.syslog
from collectors.contract import Context
from collectors.io.origin import CHUNK, DATAGRAM, END, RESTART, Origin
from collectors.records import Leg, Record, Reject
from collectors.sip.tracker import Tracker
from collectors.syslog.envelope import SyslogFramer, unwrap
from collectors.syslog.kind import KIND
from collectors.syslog.stream import SyslogStream
from tests.collectors.hep.test_collect import Kept, until
from tests.collectors.hep.test_connections import dial, free_port
from tests.collectors.syslog.logs import CALL, DEVICE, MAKES, PBX, Audiocodes, with_body

NOW_US = 1_790_000_000_000_000
STEPS_US = [0, 100_000, 3_000_000, 3_010_000, 64_500_000, 64_510_000]
"""When each message of `CALL` is logged: it rings for 3 s and talks for 61.5 s."""
ORIGIN = Origin(DATAGRAM, DEVICE, 514)


def logged(make: Callable[[bool, bytes], list[bytes]]) -> list[tuple[int, bytes]]:
    return [
        (NOW_US + at_us, text)
        for at_us, (sent, message) in zip(STEPS_US, CALL, strict=True)
        for text in make(sent, message)
    ]


def heard(stream: SyslogStream, texts: list[tuple[int, bytes]]) -> tuple[list[Record], list[Reject]]:
    for at_us, text in texts:
        stream.feed(ORIGIN, text, at_us, "journal 0:0")
    stream.finish()
    records, rejects = stream.drain()
    return list(records), list(rejects)


def stream() -> SyslogStream:
    return SyslogStream(Tracker())


@pytest.mark.parametrize("make", MAKES)
def test_a_call_as_each_make_logs_it(make: str) -> None:
    records, rejects = heard(stream(), logged(MAKES[make]()))
    assert rejects == []
    (leg,) = records
    call = KIND.join([leg])
    assert (call.outcome, call.caller.number, call.dialled, call.talk_ms) == ("answered", "101", "202", 61_500)
    assert leg.src == f"{DEVICE}:0"  # type: ignore[union-attr]
    assert leg.dst == ("0.0.0.0:0" if make == "grandstream" else f"{PBX}:5060")  # type: ignore[union-attr]


@pytest.mark.parametrize("make", MAKES)
@given(data=st.data())
def test_a_text_that_is_lost_never_makes_another_message(make: str, data: st.DataObject) -> None:
    """What is taken for a message is one that was logged, octet for octet."""
    texts = logged(MAKES[make]())
    lost = data.draw(st.integers(0, len(texts) - 1))
    one = stream()
    taken: list[bytes] = []
    one._tracker.feed = lambda packet: taken.append(packet.payload)  # type: ignore[method-assign]
    heard(one, texts[:lost] + texts[lost + 1 :])
    real = [message for _, message in CALL]
    assert all(message in real or _is_a_header_less(message, real) for message in taken)


def _is_a_header_less(message: bytes, real: list[bytes]) -> bool:
    """A text for each line: a lost line that is no needed header cannot be missed."""
    lines = message.split(b"\r\n")
    return any(set(lines) <= set(one.split(b"\r\n")) and len(one.split(b"\r\n")) - len(lines) == 1 for one in real)


def test_a_gap_in_the_devices_own_count_is_a_reject() -> None:
    make = Audiocodes()
    texts = [(NOW_US, text) for text in make(*CALL[0])]
    _, rejects = heard(stream(), [texts[0], texts[1], (NOW_US, make.text(b"rest"))])
    assert [one.reason for one in rejects] == ["syslog_gap"]


def test_a_body_that_is_not_whole_is_a_reject() -> None:
    make = MAKES["pjsip"]()
    texts = [(NOW_US, text) for text in make(*CALL[0]) if b"m=audio" not in text]
    records, rejects = heard(stream(), texts)
    assert records == []
    assert [one.reason for one in rejects] == ["syslog_incomplete"]


def test_several_messages_in_one_text_and_one_that_ends_in_the_next() -> None:
    """AudioCodes bundles lines up to a datagram's size, whatever they belong to."""
    make = Audiocodes()
    contents = [
        text.partition(b"17] ")[2].partition(b" [Time")[0] for sent, message in CALL for text in make(sent, message)
    ]
    bundle = b"".join(contents)
    for cut in (0, 700, 1500, 2500):
        one = stream()
        pieces = [piece for piece in (bundle[:cut], bundle[cut:]) if piece]
        records, rejects = heard(one, [(NOW_US, make.text(piece)) for piece in pieces])
        assert (rejects, one.counters["sip"], len(records)) == ([], 6, 1)


def test_a_message_within_a_body_begins_no_message() -> None:
    head = CALL[4][1].replace(b"BYE", b"NOTIFY")
    notify = with_body(head, b"SIP/2.0 200 OK\r\n").replace(b"application/sdp", b"message/sipfrag")
    one = stream()
    _, rejects = heard(one, [(NOW_US, text) for text in MAKES["pjsip"]()(True, notify)])
    assert (rejects, one.counters["sip"]) == ([], 1)


def test_two_devices_log_at_once() -> None:
    one = stream()
    pairs = zip(logged(MAKES["grandstream"]()), logged(MAKES["grandstream"]()), strict=True)
    for first, second in pairs:
        one.feed(ORIGIN, first[1], first[0], "x")
        one.feed(Origin(DATAGRAM, "192.0.2.77", 514), second[1], second[0], "x")
    assert one.counters["sip"] == 12


def test_only_named_senders_are_listened_to() -> None:
    config = KIND.config(senders=["192.0.2.0/28"])
    one = SyslogStream(Tracker(), config.networks)  # type: ignore[attr-defined]
    for host in (DEVICE, "198.51.100.1", ""):
        for text in MAKES["rtx"]()(*CALL[0]):
            one.feed(Origin(DATAGRAM, host, 514 if host else 0), text, NOW_US, "x")
    assert (one.counters["sip"], one.counters["senders_refused"]) == (1, 2)
    one.feed(Origin(CHUNK, "198.51.100.1", 514, 7), b"<1>x\n", NOW_US, "x")
    assert one.to_cut() == [7]


@given(st.integers(0, 60), st.sampled_from(sorted(MAKES)))
def test_restoring_a_snapshot_changes_nothing(place: int, make: str) -> None:
    texts = logged(MAKES[make]())
    place = min(place, len(texts))
    before, after = stream(), stream()
    for at_us, text in texts[:place]:
        before.feed(ORIGIN, text, at_us, "x")
    before.drain()
    after.restore(before.snapshot())
    rest = heard(after, texts[place:])
    whole = heard(stream(), texts)
    assert [one.key for one in rest[0] if isinstance(one, Leg)] == [one.key for one in whole[0] if isinstance(one, Leg)]


@given(st.lists(st.binary(max_size=80), max_size=12), st.integers(0, 3))
def test_no_octets_make_it_raise(texts: list[bytes], kind: int) -> None:
    one = stream()
    for text in [
        *texts,
        *(b"INVITE sip:1@x SIP/2.0\r\n" + text for text in texts),
        *(b"<--- Received" + t for t in texts),
    ]:
        one.feed(ORIGIN, text, NOW_US, "x")
        one.feed(Origin((CHUNK, END, RESTART, CHUNK)[kind], DEVICE, 1, 5), text, NOW_US, "x")
    one.finish()
    one.drain()


@pytest.mark.parametrize(
    ("message", "text", "host"),
    [
        (b'<13>1 2026-11-21T12:00:00Z ata app 12 - [x@1 y="]"] text', b'"] text', "ata"),
        (b"<13>1 2026-11-21T12:00:00Z ata app 12 - - text", b"text", "ata"),
        (b"<13>Nov 21 12:00:00 192.0.2.9 app[3]: text", b"text", "192.0.2.9"),
        (b"<13>Nov 21 12:00:00 192.0.2.9 asterisk: text", b"text", "192.0.2.9"),
        (b"<13>Via: SIP/2.0/UDP x", b"Via: SIP/2.0/UDP x", ""),
        (b"2026-11-21T12:00:00.5+00:00 ata app[3]: a#015#012b", b"a\r\nb", "ata"),
    ],
)
def test_what_stands_around_a_text(message: bytes, text: bytes, host: str) -> None:
    found = unwrap(message)
    assert (found.text, found.host, found.head) == (text, host, True)


@given(st.lists(st.sampled_from([b"<1>one", b"<2>two words"]), max_size=8), st.booleans(), st.lists(st.integers(0, 99)))
def test_messages_of_a_connection_come_out_however_it_is_cut(
    texts: list[bytes], counted: bool, cuts: list[int]
) -> None:
    data = b"".join(b"%d %b" % (len(text), text) if counted else text + b"\n" for text in texts)
    framer = SyslogFramer()
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    found = [m for begin, end in pairwise(places) for m in framer.feed(data[begin:end])]
    assert (found, framer.rest) == (texts, b"")


HOSTILE = {
    "announcements": b"---- Incoming SIP Message from 192.0.2.1:5 to SIPInterface #1 (a) UDP x ---- \n" * 800,
    "unfinished announcements": b"---- Incoming SIP Message from 192.0.2.1:5 to SIPInterface #1 (" * 1_000,
    "pjsip": b".TX 1 bytes " * 5_400,
    "rtx": b"SIP message Sent to tcp:192.0.2.1:5 at " * 1_600,
    "times": b"[S=1] " + b" [Time:" * 9_000,
    "structured data": b"<1>1 a b c d e " + b"[a]" * 20_000 + b"x",
    "newlines": b"[S=1] " + b"\n" * 65_000,
    "codes": b"#012" * 16_000,
    "headers": b"INVITE sip:a@b SIP/2.0\r\n" + b"Via: x\r\n" * 8_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_the_longest_text_is_read_in_no_time(name: str) -> None:
    """Some milliseconds each on a machine of 2020; a pattern that looks again at what it has seen takes seconds."""
    one, began = stream(), time.process_time()
    one.feed(ORIGIN, HOSTILE[name][:65_535], NOW_US, "x")
    one.feed(ORIGIN, CALL[0][1][:400], NOW_US, "x")
    one.feed(ORIGIN, HOSTILE[name][:65_535], NOW_US, "x")
    assert time.process_time() - began < 0.2


async def test_a_call_over_udp_and_tcp_through_the_journal(tmp_path: Path) -> None:
    sink, port = Kept(), free_port()
    listen = [f"127.0.0.1:{port}", f"tcp://127.0.0.1:{port}"]
    context = Context(name="ata", folder=tmp_path, clock_ms=lambda: NOW_US // 1000)
    collector = KIND.open(KIND.config(listen=listen), context)
    task = asyncio.create_task(collector.run(sink, None))
    await until(lambda: "listening on" in collector.probe().detail)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for sent, message in CALL[:4]:
            for text in MAKES["rtx"]()(sent, message):
                sender.sendto(text, ("127.0.0.1", port))
    await until(lambda: collector.probe().counters["sip"] == 4)
    with dial(port) as connection:
        for sent, message in CALL[4:]:
            for text in MAKES["rtx"]()(sent, message):
                connection.sendall(b"%d %b" % (len(text), text))
        await until(lambda: sink.legs)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert KIND.join(sink.legs).outcome == "answered"


def test_a_file_of_a_syslog_daemon(tmp_path: Path) -> None:
    assert KIND.read is not None
    assert KIND.sniff is not None
    path = tmp_path / "ata.log"
    lines = []
    for at_us, (sent, message) in zip(STEPS_US, CALL, strict=True):
        seconds = at_us / 1e6
        stamp = b"2026-11-21T12:%02d:%09.6f+00:00 192.0.2.9 " % (seconds // 60, seconds % 60)
        (text,) = MAKES["asterisk"]()(sent, message)
        lines.append(stamp + text.partition(b" pbx ")[2])
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert KIND.sniff(path.name, path.read_bytes()[:4096]) > 50
    assert KIND.sniff(path.name, b"Nov 21 12:00:00 host kernel: nothing of SIP\n") == 0
    legs = [record for batch in KIND.read(path, KIND.config()) for record in batch.records]
    assert [KIND.join([leg]).talk_ms for leg in legs] == [61_500]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"listen": "0.0.0.0:514"}, "senders"),
        ({"listen": "tls://127.0.0.1:6514"}, "TLS is not read"),
        ({"senders": ["the phones"]}, "the phones"),
    ],
)
def test_a_wrong_configuration_says_what_to_do(settings: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        KIND.config(**settings)


FOLDER = Path(collectors.syslog.__file__).parent


def test_the_papers_say_what_there_is(tmp_path: Path) -> None:
    readme, sample = (FOLDER / "README.md").read_text(), (FOLDER / "sample.toml").read_text()
    every = "\n".join(
        line.removeprefix("# ") if "=" in line and line.startswith("# ") else line for line in sample.splitlines()
    )
    (shown,) = tomllib.loads(every)["source"]
    assert {*shown} == {"kind", "name", *KIND.config.__struct_fields__}
    assert msgspec.convert({key: value for key, value in shown.items() if key != "name"}, KIND.config)
    for key in KIND.config.__struct_fields__:
        assert f"`{key}`" in readme
    counters = KIND.open(KIND.config(), Context(name="ata", folder=tmp_path, clock_ms=lambda: 0)).probe().counters
    for name in counters:
        assert name.startswith("sip_") or f"`{name}`" in readme, name
