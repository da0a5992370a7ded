"""The annex's SIP: what stands on the wire, in which order."""

import struct

import msgspec
import pytest

from agent.demo.hep_packets import hep3
from agent.demo.office import PlayedCall
from agent.demo.plan import Plan
from agent.demo.sip_packets import Packet, Phone, packets

TEN_MS = 1_795_168_800_001
PBX, PHONE_121, PHONE_122, CARRIER = "10.20.0.1", "10.20.1.121", "10.20.1.122", "203.0.113.5"

CALL = PlayedCall(
    way="sip",
    key="4711-000001@annex",
    kind="answered",
    caller="121",
    dialled="122",
    started_at_ms=TEN_MS,
    answered_at_ms=TEN_MS + 5_000,
    ended_at_ms=TEN_MS + 65_500,
    outcome="answered",
    call_class="internal",
    rings=("122",),
    answered_by="122",
)


def call(**changes: object) -> PlayedCall:
    return msgspec.structs.replace(CALL, **changes)


def start_line(packet: Packet) -> str:
    return packet.message.partition(b"\r\n")[0].decode()


def header(packet: Packet, name: str) -> str:
    head = packet.message.partition(b"\r\n\r\n")[0].decode()
    return next(line.partition(": ")[2] for line in head.splitlines() if line.startswith(f"{name}:"))


def said(found: list[Packet], one: str, other: str) -> list[str]:
    """What is said between two addresses: each start line once, without its URI."""
    lines = [start_line(packet) for packet in found if {packet.src, packet.dst} == {one, other}]
    short = [line.removeprefix("SIP/2.0 ") if line.startswith("SIP") else line.split()[0] for line in lines]
    return [text for n, text in enumerate(short) if text not in short[:n] or text in ("ACK", "INVITE")]


def plain(kind: str, **changes: object) -> list[Packet]:
    """The first call of its kind in which chance has nothing repeated."""
    for n in range(500):
        made = packets(call(kind=kind, key=f"{n}@annex", **changes))
        if len({packet.message for packet in made}) == len(made):
            return made
    raise AssertionError("chance has no such call")


def test_a_call_is_challenged_rings_is_answered_and_ends() -> None:
    near = said(plain("answered"), PHONE_121, PBX)
    assert near[:8] == ["INVITE", "401 Unauthorized", "ACK", "INVITE", "100 Trying", "180 Ringing", "200 OK", "ACK"]
    assert near[8:] == ["BYE"]
    assert said(plain("answered"), PBX, PHONE_122) == ["INVITE", "100 Trying", "180 Ringing", "200 OK", "ACK", "BYE"]


def test_each_side_of_the_phone_system_has_a_call_id_of_its_own() -> None:
    found = plain("answered")
    near = {header(packet, "Call-ID") for packet in found if PHONE_121 in (packet.src, packet.dst)}
    far = {header(packet, "Call-ID") for packet in found if PHONE_122 in (packet.src, packet.dst)}
    assert len(near) == len(far) == 1
    assert near != far


def test_the_callers_leg_is_answered_and_ends_at_the_calls_own_instants() -> None:
    near = [packet for packet in plain("answered") if PHONE_121 in (packet.src, packet.dst)]
    answers = [packet.at_ms for packet in near if start_line(packet) == "SIP/2.0 200 OK"]
    byes = [packet.at_ms for packet in near if start_line(packet).startswith("BYE")]
    assert near[0].at_ms == TEN_MS
    assert answers[0] == TEN_MS + 5_000
    assert byes == [TEN_MS + 65_500]


def test_busy_is_said_by_the_desk_and_passed_on() -> None:
    found = plain("busy", outcome="busy", answered_at_ms=None, answered_by="", ended_at_ms=TEN_MS + 1_000)
    assert said(found, PBX, PHONE_122) == ["INVITE", "100 Trying", "486 Busy Here", "ACK"]
    assert said(found, PHONE_121, PBX)[-2:] == ["486 Busy Here", "ACK"]


def test_a_caller_who_gives_up_cancels() -> None:
    found = plain("cancelled", outcome="cancelled", answered_at_ms=None, answered_by="", ended_at_ms=TEN_MS + 4_000)
    assert said(found, PHONE_121, PBX)[-4:] == ["CANCEL", "200 OK", "487 Request Terminated", "ACK"]
    assert said(found, PBX, PHONE_122)[-4:] == ["CANCEL", "200 OK", "487 Request Terminated", "ACK"]


def test_hold_is_a_re_invite_that_sends_only_and_one_that_comes_back() -> None:
    invites = [packet.message for packet in plain("hold") if start_line(packet).startswith("INVITE sip:10.20.0.1:5060")]
    assert [b"a=sendonly" in message for message in invites] == [True, False]


def test_the_others_of_a_ring_group_are_cancelled() -> None:
    found = plain("ring group", dialled="200", rings=("122", "123", "124"), answered_by="123")
    assert "BYE" in said(found, PBX, "10.20.1.123")
    for loser in (PHONE_122, "10.20.1.124"):
        assert said(found, PBX, loser)[-4:] == ["CANCEL", "200 OK", "487 Request Terminated", "ACK"]


def test_the_carrier_is_not_asked_for_a_password() -> None:
    found = plain("inbound", caller="02079460123", dialled="02079460100")
    assert said(found, CARRIER, PBX)[:3] == ["INVITE", "100 Trying", "180 Ringing"]


def test_some_messages_come_twice() -> None:
    messages = [packets(call(key=f"{n}@annex")) for n in range(50)]
    repeated = [one for one in messages if len({packet.message for packet in one}) < len(one)]
    assert 5 < len(repeated) < 45


@pytest.mark.parametrize("seed", range(3))
def test_every_message_is_framed_rightly_and_in_order(seed: int) -> None:
    for made in Plan(seed, TEN_MS, TEN_MS + 600_000).calls():
        if made.way == "sip":
            found = packets(made)
            assert [packet.at_ms for packet in found] == sorted(packet.at_ms for packet in found)
            assert found[0].at_ms == made.started_at_ms
            for packet in found:
                body = packet.message.partition(b"\r\n\r\n")[2]
                assert header(packet, "Content-Length") == str(len(body))


def test_a_phone_registers_with_its_password_and_comes_again_with_a_higher_number() -> None:
    phone = Phone("121", "4711")
    first, again = phone.register(TEN_MS), phone.register(TEN_MS + 60_000)
    assert [start_line(packet) for packet in first] == [
        "REGISTER sip:10.20.0.1 SIP/2.0",
        "SIP/2.0 401 Unauthorized",
        "REGISTER sip:10.20.0.1 SIP/2.0",
        "SIP/2.0 200 OK",
    ]
    assert [header(packet, "CSeq") for packet in again] == ["3 REGISTER", "3 REGISTER", "4 REGISTER", "4 REGISTER"]
    assert header(first[0], "Call-ID") == header(again[0], "Call-ID")
    assert header(first[3], "Contact") == "<sip:121@10.20.1.121:5060>;expires=120"


def test_a_hep3_datagram_is_as_the_specification_says() -> None:
    datagram = hep3(1_795_168_800_123, "10.20.1.121", "10.20.0.1", b"OPTIONS")
    assert datagram == b"".join(
        (
            b"HEP3" + struct.pack(">H", len(datagram)),
            bytes.fromhex("0000 0001 0007 02"),
            bytes.fromhex("0000 0002 0007 11"),
            bytes.fromhex("0000 0003 000a 0a140179"),
            bytes.fromhex("0000 0004 000a 0a140001"),
            bytes.fromhex("0000 0007 0008 13c4"),
            bytes.fromhex("0000 0008 0008 13c4"),
            bytes.fromhex("0000 0009 000a") + struct.pack(">I", 1_795_168_800),
            bytes.fromhex("0000 000a 000a 0001e078"),
            bytes.fromhex("0000 000b 0007 01"),
            bytes.fromhex("0000 000c 000a 000007d1"),
            bytes.fromhex("0000 000f 000d") + b"OPTIONS",
        )
    )
