"""RFC 4475's torture messages, each with the verdict that its INDEX gives for a passive meter.

They lie beside the checkout and are no part of the project.
"""

import re
from pathlib import Path

import pytest
from msgspec import Struct

from collectors.sip.address import read_address, user
from collectors.sip.capture import CaptureReader
from collectors.sip.leg import SipLeg
from collectors.sip.message import Malformed, parse
from collectors.sip.packets import SipPacket
from collectors.sip.stream import SipStream
from collectors.sip.tracker import Tracker
from tests.collectors.sip.flows import Told, at, track

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "samples" / "sip" / "torture"
pytestmark = [
    pytest.mark.samples,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the sample corpus is not beside the checkout"),
]


class Verdict(Struct, frozen=True):
    """What is read: the method or status, what is named as wrong, and whether it opens a call, belongs to one that began
    before (`mid_dialog`) or answers a request that was not captured (`orphans`)."""

    reads: str
    wrong: str = ""
    tells: str = ""


def rejected(reason: str) -> Verdict:
    return Verdict("", reason)


CALL, MID, ORPHAN = "calls", "mid_dialog", "orphans"

VERDICTS = {
    # 3.1.1 valid: parse, and find nothing wrong
    "wsinv": Verdict("INVITE", "", MID),
    "intmeth": Verdict("!interesting-Method0123456789_*+`.%indeed'~"),
    "esc01": Verdict("INVITE", "", CALL),
    "escnull": Verdict("REGISTER"),
    "esc02": Verdict("RE%47IST%45R"),
    "lwsdisp": Verdict("OPTIONS"),
    "longreq": Verdict("INVITE", "", CALL),
    "dblreq": Verdict("REGISTER"),
    "semiuri": Verdict("OPTIONS"),
    "transports": Verdict("OPTIONS"),
    "mpart01": Verdict("MESSAGE"),
    "unreason": Verdict("200", "", ORPHAN),
    "noreason": Verdict("100"),
    # 3.1.2 invalid: what is wrong is named, and hides no more than it must
    "badinv01": Verdict("INVITE", "separators", CALL),
    "clerr": Verdict("INVITE", "truncated", CALL),
    "ncl": Verdict("INVITE", "content_length", CALL),
    "scalar02": Verdict("REGISTER", "cseq_number"),
    "scalarlg": Verdict("503", "cseq_number", ORPHAN),
    "quotbal": Verdict("INVITE", "to_quote", CALL),
    "ltgtruri": Verdict("INVITE", "request_line", CALL),
    "lwsruri": Verdict("INVITE", "request_line", MID),
    "lwsstart": Verdict("INVITE", "request_line", CALL),
    "trws": Verdict("OPTIONS", "request_line"),
    "escruri": Verdict("INVITE", "", CALL),
    "baddate": Verdict("INVITE", "", CALL),
    "regbadct": Verdict("REGISTER"),
    "badaspec": Verdict("OPTIONS", "to_spaces"),
    "baddn": Verdict("OPTIONS", "from_display_name"),
    "badvers": rejected("version"),
    "mismatch01": Verdict("OPTIONS", "cseq_method"),
    "mismatch02": Verdict("NEWMETHOD", "cseq_method"),
    "bigcode": rejected("status"),
    # 3.2 and 3.3: fine in form unless a field stands twice or is missing
    "badbranch": Verdict("OPTIONS"),
    "insuf": rejected("no_call_id"),
    "unkscm": Verdict("OPTIONS"),
    "novelsc": Verdict("OPTIONS"),
    "unksm2": Verdict("REGISTER"),
    "bext01": Verdict("OPTIONS"),
    "invut": Verdict("INVITE", "", CALL),
    "regaut01": Verdict("REGISTER"),
    "multi01": Verdict("INVITE", "duplicate_call_id", CALL),
    "mcl01": Verdict("OPTIONS", "duplicate_content_length"),
    "bcast": Verdict("200", "", ORPHAN),
    "zeromf": Verdict("OPTIONS"),
    "cparam01": Verdict("REGISTER"),
    "cparam02": Verdict("REGISTER"),
    "regescrt": Verdict("REGISTER"),
    "sdp01": Verdict("INVITE", "", CALL),
    "inv2543": Verdict("INVITE", "", CALL),
}


def rows() -> list[list[str]]:
    lines = (FOLDER / "INDEX.md").read_text().splitlines() if FOLDER.is_dir() else []
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    return [row for row in cells if len(row) >= 10 and row[0].isdigit()]


def octets(name: str) -> bytes:
    return (FOLDER / "rfc4475" / f"{name}.dat").read_bytes()


def heard(data: bytes) -> Told:
    return track([SipPacket(at(0), "udp", "192.0.2.1:5060", "192.0.2.2:5060", data)], end=None)


def test_each_message_has_its_verdict() -> None:
    assert {row[1].removesuffix(".dat") for row in rows()} == set(VERDICTS)
    assert len(VERDICTS) == 49


@pytest.mark.parametrize("name", VERDICTS)
def test_a_torture_message_gives_the_verdict_of_its_index(name: str) -> None:
    verdict, told = VERDICTS[name], heard(octets(name))
    if not verdict.reads:
        assert [reject.reason for reject in told.rejects] == [verdict.wrong]
        assert told.records == []
        return
    message = parse(octets(name))
    assert (message.method.decode() or str(message.status)) == verdict.reads
    assert (not message.problems) if not verdict.wrong else verdict.wrong in message.problems
    assert told.counters.get("malformed", 0) == bool(verdict.wrong)
    assert {one for one in (CALL, MID, ORPHAN) if told.counters.get(one)} == (
        {verdict.tells} if verdict.tells else set()
    )
    assert all(leg.answered_at_ms is None for leg in told.legs)
    assert told.registrations == []
    assert told.rejects == []


def test_invalid_ones_are_named_so_but_for_those_that_the_index_lets_pass() -> None:
    """A Date with another zone, a Request-URI with headers, a Contact without brackets: nothing that is metered hangs on
    them, and the last two may be tolerated."""
    invalid = {row[1].removesuffix(".dat") for row in rows() if "invalid" in row[4]}
    assert {name for name in invalid if not VERDICTS[name].wrong} == {"baddate", "escruri", "regbadct"}
    assert not {name for name in set(VERDICTS) - invalid if VERDICTS[name].wrong}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[1])
def test_what_tshark_reads_in_them_is_read_too(row: list[str]) -> None:
    """Method or status, CSeq and Call-ID; of what it takes for no SIP, or for another version, there is nothing to compare."""
    if row[7] in ("not SIP (data)", "-") or not VERDICTS[row[1].removesuffix(".dat")].reads:
        return
    message = parse(octets(row[1].removesuffix(".dat")))
    assert (message.method.decode() or str(message.status)) == row[7]
    assert message.call_id.decode().startswith(row[-1].removesuffix(".."))
    number, method = row[8].replace("\\r\\n", " ").split()
    assert message.cseq.split()[1] == method.encode()
    assert int(message.cseq.split()[0]) == min(int(number), 2**31 - 1)


# --- what the INDEX asks of single ones


def accepted(name: str) -> Told:
    """The REGISTER, and a 200 that grants what it asks for."""
    data = octets(name)
    asked = parse(data)
    kept = [b"From", b"To", b"Call-ID", b"CSeq", b"Contact"]
    lines = [one + b": " + value for one in kept for value in asked.values(one)]
    answer = b"\r\n".join([b"SIP/2.0 200 OK", *lines, b"Expires: 3600", b"Content-Length: 0", b"", b""])
    ends = "192.0.2.1:5060", "192.0.2.2:5060"
    return track([SipPacket(at(0), "udp", *ends, data), SipPacket(at(1), "udp", *ends[::-1], answer)], end=None)


def test_folded_and_compact_headers_and_odd_white_space_are_read() -> None:
    message = parse(octets("wsinv"))
    assert message.get(b"Subject") == b""
    assert message.ends()[1:] == (b"98asjd8", b"1918181833n")
    assert message.cseq == b"9 INVITE"
    assert parse(octets("esc01")).get(b"Contact")
    assert parse(octets("lwsdisp")).ends()[0] == b"sip:caller@example.com"


def test_a_long_tag_and_call_id_are_kept_apart_from_others_that_begin_alike() -> None:
    data = octets("longreq")
    message = parse(data)
    call_id = re.search(rb"Call-ID:[ \t]*([^\r\n]+)", data)
    assert call_id is not None
    other = parse(data.replace(call_id[1], call_id[1][:-1] + b"!"))
    assert message.call_id != other.call_id
    assert len(message.ends()[1]) > 100
    [leg] = heard(data).legs
    assert leg.call_id == message.call_id.decode()


def test_octets_behind_the_content_length_of_a_datagram_are_not_counted() -> None:
    told = heard(octets("dblreq"))
    assert (told.counters["messages"], told.counters["registers"], told.legs) == (1, 1, [])


def test_the_user_part_may_hold_semicolons() -> None:
    assert user(parse(octets("semiuri")).uri) == "user;par=u@example.net"


def test_two_users_with_an_escaped_nul_are_two_bindings() -> None:
    contacts = {registration.contact for registration in accepted("escnull").registrations}
    assert len(contacts) == 2


def test_a_parameter_without_brackets_belongs_to_the_header_and_within_them_to_the_uri() -> None:
    first, second, third = (
        read_address(parse(octets(name)).get(b"Contact")) for name in ("cparam01", "cparam02", "regescrt")
    )
    assert (first.uri, first.params) == (b"sip:+19725552222@gw1.example.net", b";unknownparam")
    assert (second.uri, second.params) == (b"sip:+19725552222@gw1.example.net;unknownparam", b"")
    assert third.uri == b"sip:user@example.com?Route=%3Csip:sip.example.com%3E"
    for name in ("cparam01", "cparam02", "regescrt", "regbadct"):
        assert len(accepted(name).registrations) == 1


def test_overlarge_numbers_do_no_harm() -> None:
    [registration] = accepted("scalar02").registrations
    assert registration.expires_at_ms < 2**63
    told = heard(octets("scalarlg"))
    assert Tracker().snapshot() != b""
    assert told.records == []


def test_a_scheme_that_is_no_sip_makes_no_trouble() -> None:
    assert accepted("unksm2").rejects == []


def test_too_long_a_content_length_eats_no_more_of_a_stream_than_the_messages_within_it() -> None:
    """Over UDP the datagram ends it; over TCP the next message would be its body, and the one after is whole again."""
    stream = SipStream(65_536, from_start=True)
    greedy = octets("clerr")
    following = octets("inv2543").replace(
        b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % len(_body(octets("inv2543")))
    )
    found = stream.feed(greedy + following * 40)
    assert found[0].startswith(b"INVITE")
    assert found[-1] == following


def _body(data: bytes) -> bytes:
    return data.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("name", ["ncl", "mcl01", "clerr"])
def test_no_length_is_trusted_in_a_stream_that_cannot_be(name: str) -> None:
    stream = SipStream(65_536, from_start=True)
    stream.feed(octets(name))
    for _ in range(200):
        stream.feed(octets("inv2543") + b"x" * 400)
    assert stream.feed(octets("zeromf") + octets("zeromf")) != []


def test_every_torture_message_is_read_from_the_capture_too() -> None:
    tracker = Tracker()
    with (FOLDER / "torture.pcap").open("rb") as file:
        for packet in CaptureReader(file):
            tracker.feed(packet)
    tracker.finish(at(1000))
    told = Told(*tracker.drain(), tracker.counters)
    assert told.counters["messages"] + told.counters["rejects"] == 49
    assert not {leg.call_id for leg in told.legs if leg.call_id.startswith("dblreq")}
    assert not [record for record in told.records if not isinstance(record, SipLeg)]


def test_no_truncation_of_a_torture_message_raises() -> None:
    for name in VERDICTS:
        data = octets(name)
        for size in range(0, len(data), 7):
            try:
                parse(data[:size])
            except Malformed as fault:
                assert re.fullmatch("[a-z_]+", fault.reason)  # noqa: PT017 - the point is that nothing else is raised
